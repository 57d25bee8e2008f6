"""The verdict's mark, what to do next, and the worst images and projects of the HTML report."""

from __future__ import annotations

import shlex
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkshare.model import AS_PLANNED, Origin, Outcome, Result, Run, RunState, Settings
from bulkshare.report.html.advice import Mark, mark_of, next_step
from bulkshare.report.html.matrix import MOST_COLUMNS, MOST_ROWS, matrix_of
from bulkshare.report.html.pairs import ORDER, Dictionary, PairScan, Table
from bulkshare.report.html.worst import MOST_WORST, worst_of
from tests.browser import samples
from tests.commands import parse_command

PLAN = Origin("/etc/my plans/golden.yaml", "9f" * 32, "0.1.0", "bulkshare run golden.yaml --os-cloud west")
ADHOC = Origin("", "", "0.1.0", "bulkshare share ubuntu --to team-a")


def run_with(
    totals: dict[Result, int],
    *origins: Origin,
    state: RunState = RunState.FINISHED,
    settings: Settings = Settings("west"),  # noqa: B008  immutable
) -> Run:
    """Return a run with these results and origins."""
    return replace(samples.run_of([]), totals=totals, origins=origins, state=state, settings=settings)


GOOD, BAD, LEFT = {Result.SHARED: 1}, {Result.SHARED: 1, Result.FAILED: 1}, {Result.SHARED: 1, Result.PENDING: 1}
SANDBOX = Settings(sandbox=True)
KEY = "golden-nightly-20260102-0315-1"


@pytest.mark.parametrize(
    ("run", "mark", "command"),
    [
        (run_with({}), Mark.EMPTY, ""),
        (run_with(GOOD), Mark.GOOD, ""),
        (run_with(GOOD, PLAN), Mark.GOOD, "bulkshare verify '/etc/my plans/golden.yaml' --os-cloud west"),
        (run_with(GOOD, PLAN, settings=SANDBOX), Mark.GOOD, ""),
        (run_with(BAD), Mark.BAD, f"bulkshare show {KEY} --failed"),
        (run_with(BAD, ADHOC), Mark.BAD, ADHOC.command),
        (
            run_with(BAD, PLAN, ADHOC),
            Mark.BAD,
            "bulkshare run '/etc/my plans/golden.yaml' --retry-failed",
        ),
        (run_with(BAD, ADHOC, settings=SANDBOX), Mark.BAD, ADHOC.command),
        (run_with(LEFT, PLAN, state=RunState.INTERRUPTED), Mark.EARLY, f"bulkshare resume {KEY}"),
        (run_with(BAD | LEFT, PLAN, state=RunState.INTERRUPTED), Mark.BAD, f"bulkshare resume {KEY}"),
        (run_with(LEFT, PLAN, state=RunState.RUNNING), Mark.RUNNING, f"bulkshare show {KEY}"),
        (run_with(LEFT, state=RunState.INTERRUPTED, settings=SANDBOX), Mark.EARLY, ""),
    ],
)
def test_the_next_step_is_a_command_that_exists(run: Run, mark: Mark, command: str) -> None:
    """It fits the run, and parses; it names the ledger if that is not the usual one."""
    assert mark_of(run) is mark
    step = next_step(run)
    assert step.command == command
    if command:
        parse_command(shlex.split(command)[1:])
    given = next_step(run, ledger="/srv/my ledger.db").command
    if given != command:
        assert given == f"{command} --ledger '/srv/my ledger.db'"
        parse_command(shlex.split(given)[1:])


PAIRS = st.dictionaries(
    st.tuples(st.integers(0, 60), st.integers(0, 150)), st.sampled_from([*Result]), min_size=1, max_size=300
)


@given(PAIRS)
def test_failing_ones_come_first_and_no_pair_is_lost(results: dict[tuple[int, int], Result]) -> None:
    """Rows and columns are bounded and ordered by failures; shares and the worst lists count truly."""
    outcomes = [Outcome(f"i{image}", f"p{project}", result) for (image, project), result in sorted(results.items())]
    dictionary = Dictionary({})
    scan = PairScan(Table({}, samples.BEGAN, dictionary))
    scan.read(outcomes, None)
    matrix = matrix_of(scan, scan.bad(), dictionary, {})
    assert matrix is not None
    cells = matrix.document["cells"]
    assert len(cells) == matrix.images.cells <= MOST_ROWS
    assert len(cells[0]) == matrix.projects.cells <= MOST_COLUMNS
    bad_rows = []
    for row in cells:
        mixes = [matrix.document["mixes"][number] for number in row if number >= 0]
        bad = sum(
            count
            for mix in mixes
            for code, count in zip(mix[::2], mix[1::2], strict=True)
            if ORDER[code] not in AS_PLANNED
        )
        bad_rows.append((bad, sum(sum(mix[1::2]) for mix in mixes)))
    alone = [bad for bad, _ in bad_rows[: matrix.images.alone]]
    assert all(one >= other for one, other in pairwise(alone))
    assert sum(planned for _, planned in bad_rows) == len(outcomes)
    shares = [f"{bad} of {planned}" for bad, planned in bad_rows if bad]
    assert [label.text for label in matrix.row_shares] == shares
    wrong = [outcome for outcome in outcomes if outcome.result not in AS_PLANNED]
    images, projects = worst_of(scan, scan.bad(), {})
    for worst, ids in ((images, [one.image_id for one in wrong]), (projects, [one.member_id for one in wrong])):
        assert [thing.bad for thing in worst] == sorted(map(ids.count, set(ids)), reverse=True)[:MOST_WORST]
        assert all(thing.bad == ids.count(thing.id) <= thing.planned for thing in worst)
