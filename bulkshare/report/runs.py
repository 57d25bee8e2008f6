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
    named_plan,
    render_awaiting,
    render_causes,
    render_cost,
    render_results,
    whole,
)
from bulkshare.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from rich.console import RenderableType

    from bulkshare.model import Run
    from bulkshare.report.summary import Cause

KILLED = "killed"  # the ledger has it as running, but its process is gone
UNKNOWN = "-"
STATE_STYLES = {RunState.RUNNING.value: "cyan", RunState.INTERRUPTED.value: "yellow", KILLED: "red"}


@dataclass(frozen=True, slots=True)
class RunStatus:
    """The state of a run, a `RunState` or "killed", and its time and requests so far; None if not known yet."""

    run: Run
    state: str
    seconds: float | None
    requests: int | None
    retries: int | None


def run_status_of(run: Run, *, dead: bool = False, now: datetime | None = None) -> RunStatus:
    """Return the status of a run; `dead` if its process is known to be gone.

    Requests are recorded when an invocation ends. During the first invocation only the elapsed time is known.
    """
    if run.state is not RunState.RUNNING:
        return RunStatus(run, run.state.value, run.seconds, run.requests, run.retries)
    state = KILLED if dead else run.state.value
    if run.requests:  # those of the invocations before this one
        return RunStatus(run, state, run.seconds, run.requests, run.retries)
    elapsed = None if dead or now is None else max((now - run.started_at).total_seconds(), 0.0)
    return RunStatus(run, state, elapsed, None, None)


def run_document(status: RunStatus) -> dict[str, Any]:
    """Return a run as one JSON object: names as in the documentation of `runs --json`; None if unknown."""
    run = status.run
    return {
        "run": run.key,
        "plan": run.plan,
        "state": status.state,
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
        "opened": run.opened,
        "awaiting_acceptance": run.awaiting_acceptance,
        "requests": status.requests,
        "retries": status.retries,
        "seconds": None if status.seconds is None else round(status.seconds, 3),
    }


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat(timespec="seconds").replace("+00:00", "Z")


def show_document(status: RunStatus, causes: Sequence[Cause], names: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return a run with the causes of its failures as one JSON object, as documented for `show --json`."""
    return run_document(status) | {"causes": [cause_document(cause, names) for cause in causes]}


def render_run(status: RunStatus, causes: Sequence[Cause], names: Mapping[str, str] | None = None) -> RenderableType:
    """Return what `show` prints above the pairs: the run, its account and cloud, results and causes.

    `names` has those of images and projects by ID, as far as they are known.
    """
    run, account = status.run, status.run.account
    state = Text(status.state, STATE_STYLES.get(status.state, ""))
    return Group(
        whole(Text.assemble("run ", (run.key, "bold"), "  ", state)),
        whole(Text(f"  started {run.started_at:%Y-%m-%d %H:%M:%S} UTC")),
        Prose(f"as {account.user} of project {account.project}, cloud {_cloud(run)}", indent=2, hanging=2),
        whole(Text(f"  at {account.endpoint}")),
        *render_results(run.totals, _cost(status), opened=run.opened),
        *render_awaiting(run.awaiting_acceptance),
        *render_causes(causes, names or {}, named_plan(run.plan)),
    )


def _cost(status: RunStatus) -> str:
    known = render_cost(status.requests, status.retries, status.seconds) or UNKNOWN
    return f"{known} so far" if status.state == RunState.RUNNING and status.seconds is not None else known


def render_runs(runs: Iterable[Run | RunStatus]) -> RenderableType:
    """Return a line per run, or two on a narrow console. A run's name includes its start in UTC."""
    listed = [run if isinstance(run, RunStatus) else run_status_of(run) for run in runs]
    head = tuple(map(Text, ("run", "state", "took")))
    firsts = [_name(status) for status in listed]
    rows = [
        (*first, Text(f"{sum(status.run.totals.values()):,}"), _results(status.run), Text(_cloud(status.run)))
        for first, status in zip(firsts, listed, strict=True)
    ]
    narrow: list[Text | Prose] = []
    for status, line in zip(listed, aligned([head, *firsts], right={2})[1:], strict=True):
        pairs = counted(sum(status.run.totals.values()), "pair")
        rest = Text.assemble(f"{pairs}: ", _results(status.run), f"; cloud {_cloud(status.run)}")
        narrow += [line, Prose(rest, indent=4, hanging=2)]
    lines = aligned([(*head, Text("pairs"), Text("results"), Text("cloud")), *rows], right={2, 3})
    lines[0].stylize("bold")
    return WideOrNarrow(lines, narrow)


def _name(status: RunStatus) -> tuple[Text, Text, Text]:
    seconds = UNKNOWN if status.seconds is None else duration(status.seconds)
    return Text(status.run.key), Text(status.state, STATE_STYLES.get(status.state, "")), Text(seconds)


def _results(run: Run) -> Text:
    counts = [
        (f"{count:,} {result.value}", STYLES[result]) for result in Result if (count := run.totals.get(result, 0))
    ]
    if run.opened:
        counts.append((f"{counted(run.opened, 'image')} opened", "green"))
    return Text(", ").join(Text(text, style) for text, style in counts) if counts else Text(UNKNOWN)


def _cloud(run: Run) -> str:
    return " ".join(part for part in (run.account.cloud, run.account.region) if part)
