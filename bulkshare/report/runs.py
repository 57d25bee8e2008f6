"""The runs of a ledger, for people and for programs. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.text import Text

from bulkshare.model import Result, RunState
from bulkshare.report.summary import cause_document
from bulkshare.report.text import (
    STYLES,
    Prose,
    WideOrNarrow,
    aligned,
    duration,
    effort,
    render_causes,
    render_results,
    whole,
)
from bulkshare.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from rich.console import RenderableType

    from bulkshare.model import Run
    from bulkshare.report.summary import Cause

KILLED = "killed"  # the ledger has it as running, but its process is gone
UNKNOWN = "-"
STATE_STYLES = {RunState.RUNNING.value: "cyan", RunState.INTERRUPTED.value: "yellow", KILLED: "red"}


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of a run, a `RunState` or "killed", and its effort so far; None if not known yet."""

    run: Run
    state: str
    seconds: float | None
    requests: int | None
    retries: int | None


def standing_of(run: Run, *, dead: bool = False, now: datetime | None = None) -> Standing:
    """Return the standing of a run; `dead` if its process is known to be gone.

    Effort is recorded when an invocation ends. During the first invocation only the elapsed time is known.
    """
    if run.state is not RunState.RUNNING:
        return Standing(run, run.state.value, run.seconds, run.requests, run.retries)
    state = KILLED if dead else run.state.value
    if run.requests:  # the effort of the invocations before this one
        return Standing(run, state, run.seconds, run.requests, run.retries)
    elapsed = None if dead or now is None else max((now - run.started_at).total_seconds(), 0.0)
    return Standing(run, state, elapsed, None, None)


def run_document(standing: Standing) -> dict[str, Any]:
    """Return a run as one JSON object: names as in the documentation of `runs --json`; None if unknown."""
    run = standing.run
    return {
        "run": run.key,
        "plan": run.plan,
        "state": standing.state,
        "cloud": run.account.cloud,
        "region": run.account.region,
        "endpoint": run.account.endpoint,
        "user": run.account.user,
        "project": run.account.project,
        "project_id": run.account.project_id,
        "started_at": _iso(run.started_at),
        "finished_at": _iso(run.finished_at),
        "planned": sum(run.totals.values()),
        **{result.value: run.totals.get(result, 0) for result in Result},
        "requests": standing.requests,
        "retries": standing.retries,
        "seconds": None if standing.seconds is None else round(standing.seconds, 3),
    }


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat(timespec="seconds").replace("+00:00", "Z")


def show_document(standing: Standing, causes: Sequence[Cause]) -> dict[str, Any]:
    """Return a run with the causes of its failures as one JSON object, as documented for `show --json`."""
    return run_document(standing) | {"causes": [cause_document(cause) for cause in causes]}


def render_run(standing: Standing, causes: Sequence[Cause]) -> RenderableType:
    """Return what `show` prints above the pairs: the run, its account and cloud, results and causes."""
    run, account = standing.run, standing.run.account
    state = Text(standing.state, STATE_STYLES.get(standing.state, ""))
    return Group(
        whole(Text.assemble("run ", (run.key, "bold"), "  ", state)),
        whole(Text(f"  started {run.started_at:%Y-%m-%d %H:%M:%S} UTC")),
        Prose(f"as {account.user} of project {account.project}, cloud {_cloud(run)}", indent=2, hanging=2),
        whole(Text(f"  at {account.endpoint}")),
        *render_results(run.totals, _effort(standing)),
        *render_causes(causes),
    )


def _effort(standing: Standing) -> str:
    known = effort(standing.requests, standing.retries, standing.seconds) or UNKNOWN
    return f"{known} so far" if standing.state == RunState.RUNNING and standing.seconds is not None else known


def render_runs(runs: Iterable[Run | Standing]) -> RenderableType:
    """Return a line per run, or two on a narrow console. A run's name includes its start in UTC."""
    listed = [run if isinstance(run, Standing) else standing_of(run) for run in runs]
    head = tuple(map(Text, ("run", "state", "took")))
    firsts = [_name(standing) for standing in listed]
    rows = [
        (*first, Text(f"{sum(standing.run.totals.values()):,}"), _results(standing.run), Text(_cloud(standing.run)))
        for first, standing in zip(firsts, listed, strict=True)
    ]
    narrow: list[Text | Prose] = []
    for standing, line in zip(listed, aligned([head, *firsts], right={2})[1:], strict=True):
        pairs = counted(sum(standing.run.totals.values()), "pair")
        rest = Text.assemble(f"{pairs}: ", _results(standing.run), f"; cloud {_cloud(standing.run)}")
        narrow += [line, Prose(rest, indent=4, hanging=2)]
    lines = aligned([(*head, Text("pairs"), Text("results"), Text("cloud")), *rows], right={2, 3})
    lines[0].stylize("bold")
    return WideOrNarrow(lines, narrow)


def _name(standing: Standing) -> tuple[Text, Text, Text]:
    seconds = UNKNOWN if standing.seconds is None else duration(standing.seconds)
    return Text(standing.run.key), Text(standing.state, STATE_STYLES.get(standing.state, "")), Text(seconds)


def _results(run: Run) -> Text:
    counts = [
        (f"{count:,} {result.value}", STYLES[result]) for result in Result if (count := run.totals.get(result, 0))
    ]
    return Text(", ").join(Text(text, style) for text, style in counts) if counts else Text(UNKNOWN)


def _cloud(run: Run) -> str:
    return " ".join(part for part in (run.account.cloud, run.account.region) if part)
