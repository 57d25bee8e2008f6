"""The runs of a ledger, for people and for programs. Pure."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

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
from bulkshare.text import clean, counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from rich.console import RenderableType

    from bulkshare.model import Control, Heartbeat, Origin, Run
    from bulkshare.report.summary import Cause

KILLED = "killed"  # the ledger has it as running, but its process is gone
UNKNOWN = "-"
LONGEST_COMMAND = 4_000  # characters of a command line or a path
STATES = (
    RunState.RUNNING.value,
    KILLED,
    RunState.INTERRUPTED.value,
    RunState.FINISHED.value,
)  # the least finished first
PLAN_AND_TIME = re.compile(r".+-\d{8}T\d{6}Z")  # with which the names of a command's runs begin
STATE_STYLES = {RunState.RUNNING.value: "cyan", RunState.INTERRUPTED.value: "yellow", KILLED: "red"}

N = TypeVar("N", int, float)


@dataclass(frozen=True, slots=True)
class RunStatus:
    """The state of a run, a `RunState` or "killed", and its time and requests so far; None if not known yet.

    heartbeat: the last one, of a run that is at work or was killed; `heard_seconds` ago by the clocks here and there.
    controls: what was asked of it while it was at work.
    """

    run: Run
    state: str
    seconds: float | None
    requests: int | None
    retries: int | None
    heartbeat: Heartbeat | None = None
    heard_seconds: float = 0.0
    controls: tuple[Control, ...] = ()


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


def total_of(statuses: Sequence[RunStatus]) -> RunStatus:
    """Return a command's runs on several clouds as one, at least one: their sums, and the state of the least finished.

    They ran concurrently: the longest time counts. The key is what their keys have in common, or else the plan's name.
    """
    if len(statuses) == 1:
        return statuses[0]
    runs = [status.run for status in statuses]
    ends = [run.finished_at for run in runs if run.finished_at is not None]
    totals: Counter[Result] = Counter()
    for run in runs:
        totals.update(run.totals)
    state = min((status.state for status in statuses), key=STATES.index)
    total = replace(
        runs[0],
        key=_common_key([run.key for run in runs]) or runs[0].plan,
        account=replace(runs[0].account, cloud=counted(len(runs), "cloud"), region=""),
        state=RunState.RUNNING if state == KILLED else RunState(state),
        started_at=min(run.started_at for run in runs),
        finished_at=max(ends) if len(ends) == len(runs) else None,
        totals=totals,
        opened=sum(run.opened for run in runs),
        awaiting_acceptance=sum(run.awaiting_acceptance for run in runs),
        requests=sum(run.requests for run in runs),
        retries=sum(run.retries for run in runs),
        seconds=max(run.seconds for run in runs),
    )
    return RunStatus(
        total,
        state=state,
        seconds=_all_known(max, [status.seconds for status in statuses]),
        requests=_all_known(sum, [status.requests for status in statuses]),
        retries=_all_known(sum, [status.retries for status in statuses]),
    )


def _common_key(keys: Sequence[str]) -> str | None:
    """Return the plan and time with which all the keys begin, None if they don't."""
    match = PLAN_AND_TIME.match(keys[0])
    return match[0] if match and all(key.startswith(f"{match[0]}-") for key in keys) else None


def _all_known(function: Callable[[list[N]], N], numbers: Sequence[N | None]) -> N | None:
    known = [number for number in numbers if number is not None]
    return function(known) if len(known) == len(numbers) else None


def run_document(status: RunStatus) -> dict[str, Any]:
    """Return a run as one JSON object: names as in the documentation of `runs --json`; None if unknown."""
    run = status.run
    return {
        "run": run.key,
        "invocation": run.invocation,
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
        "origins": [asdict(origin) for origin in run.origins],
    }


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat(timespec="seconds").replace("+00:00", "Z")


def show_document(status: RunStatus, causes: Sequence[Cause], names: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return a run with the causes of its failures as one JSON object, as documented for `show --json`."""
    run, heartbeat = status.run, status.heartbeat
    return run_document(status) | {
        "causes": [cause_document(cause, names) for cause in causes],
        "exit_code": run.exit_code,
        "ended_because": run.ended_because or None,
        "heartbeat": None if heartbeat is None else heartbeat_document(heartbeat),
        "controls": [control_document(control) for control in status.controls],
    }


def heartbeat_document(heartbeat: Heartbeat) -> dict[str, Any]:
    """Return a heartbeat as one JSON object: names as in the documentation of `watch --json`."""
    return {
        "at": _iso(heartbeat.at),
        "planned": heartbeat.planned,
        **{result.value: heartbeat.totals.get(result, 0) for result in Result if result is not Result.PENDING},
        "opened": heartbeat.opened,
        "requests": heartbeat.requests,
        "retries": heartbeat.retries,
        "batches": heartbeat.batches,
        "batched_pairs": heartbeat.batched_pairs,
        "seconds": heartbeat.elapsed_seconds,
        "seconds_left": None if heartbeat.seconds_left is None else round(heartbeat.seconds_left, 1),
        "phase": heartbeat.phase,
        "phase_done": heartbeat.phase_done,
        "phase_total": heartbeat.phase_total,
        "rate": heartbeat.rate,
        "allowed_rate": heartbeat.allowed_rate,
        "concurrency": heartbeat.concurrency,
        "cooling_seconds": heartbeat.cooling_seconds,
        "paused": heartbeat.paused,
        "pace": heartbeat.pace,
        "workers": list(heartbeat.details),
    }


def control_document(control: Control) -> dict[str, Any]:
    """Return what was asked of a run as one JSON object."""
    return {
        "at": _iso(control.at),
        "os_user": control.os_user,
        "host": control.host,
        "rate": control.rate,
        "concurrency": control.concurrency,
        "action": control.action,
        "obeyed_at": _iso(control.obeyed_at),
    }


def total_document(statuses: Sequence[RunStatus], clouds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a command's runs on several clouds as one JSON object: sums, and the clouds' own objects in `clouds`."""
    document = run_document(total_of(statuses))
    own = dict.fromkeys(("cloud", "region", "endpoint", "user", "project", "project_id"))
    causes = [cause for cloud in clouds for cause in cloud.get("causes", [])]
    return {**document, **own, "causes": causes, "clouds": clouds}


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
        *render_origins(run.origins),
        *_work(status),
        *render_results(run.totals, _cost(status), opened=run.opened),
        *render_awaiting(run.awaiting_acceptance, run.plan),
        *render_causes(causes, names or {}, named_plan(run.plan)),
    )


def render_origins(origins: Sequence[Origin]) -> list[RenderableType]:
    """Return lines about where a run comes from: the first command and, if it was continued, the latest one."""
    lines: list[RenderableType] = []
    for number, origin in enumerate(origins):
        began = "continued" if number else "begun"
        by = f"{began} by {clean(origin.os_user)} on {clean(origin.host)}, with bulkshare {clean(origin.version)}"
        command = f": {clean(origin.command, LONGEST_COMMAND)}" if origin.command else ""
        lines.append(Prose(by + command, indent=2, hanging=2))
    return lines


def _work(status: RunStatus) -> list[RenderableType]:
    """Return lines about the work on a run: its pace, when it was last heard of, what ended it early, and controls."""
    lines: list[RenderableType] = []
    run, beat = status.run, status.heartbeat
    if beat is not None:
        left = f", {duration(beat.seconds_left)} left" if beat.seconds_left is not None else ""
        rate = f"{beat.phase or 'starting'} at {beat.rate:,.1f}/s of {beat.allowed_rate:,.10g}/s"
        lines.append(
            Prose(
                f"{rate}, {clean(beat.pace)}{left}; last heard of {duration(status.heard_seconds)} ago",
                indent=2,
                hanging=2,
            )
        )
    if run.ended_because:
        lines.append(Prose(clean(run.ended_because, LONGEST_COMMAND), indent=2, hanging=2))
    for control in status.controls:
        who = clean(f"{control.os_user} on {control.host}")
        obeyed = "" if control.obeyed_at else "; not obeyed"
        lines.append(Prose(f"{control.at:%H:%M:%S} UTC {who}: {control.words}{obeyed}", indent=2, hanging=2))
    return lines


def _cost(status: RunStatus) -> str:
    known = render_cost(status.requests, status.retries, status.seconds) or UNKNOWN
    return f"{known} so far" if status.state == RunState.RUNNING and status.seconds is not None else known


def render_total(statuses: Sequence[RunStatus]) -> RenderableType:
    """Return what `show` prints above the runs of a command on several clouds: a line for each, and their total."""
    total = total_of(statuses)
    state = Text(total.state, STATE_STYLES.get(total.state, ""))
    return Group(
        whole(Text.assemble((total.run.key, "bold"), f" on {total.run.account.cloud}  ", state)),
        whole(Text(f"  started {total.run.started_at:%Y-%m-%d %H:%M:%S} UTC")),
        *render_origins(total.run.origins),
        render_runs([statuses]),
        *render_awaiting(total.run.awaiting_acceptance, total.run.plan),
    )


def render_part(status: RunStatus, causes: Sequence[Cause], names: Mapping[str, str]) -> RenderableType:
    """Return what `show` prints above the pairs on one of several clouds: its account, and the causes of failures."""
    account = status.run.account
    return Group(
        whole(Text.assemble("cloud ", (_cloud(status.run), "bold"))),
        Prose(f"as {account.user} of project {account.project}, at {account.endpoint}", indent=2, hanging=2),
        *_work(status),
        *render_causes(causes, names, named_plan(status.run.plan)),
    )


def render_runs(invocations: Iterable[Sequence[RunStatus]]) -> RenderableType:
    """Return a line per run, or two on a narrow console, and above the runs of one command on several clouds a total.

    A run's name includes its start in UTC.
    """
    listed: list[tuple[str, RunStatus, str]] = []  # indentation, status, where
    for statuses in invocations:
        several = len(statuses) > 1
        if several:
            total = total_of(statuses)
            listed.append(("", total, total.run.account.cloud))
        listed += [("  " if several else "", status, f"cloud {_cloud(status.run)}") for status in statuses]
    head = tuple(map(Text, ("run", "state", "took")))
    firsts = [_name(status, indent) for indent, status, _ in listed]
    rows = [
        (
            *first,
            Text(f"{sum(status.run.totals.values()):,}"),
            render_line(status.run),
            Text(where.removeprefix("cloud ")),
        )
        for first, (_, status, where) in zip(firsts, listed, strict=True)
    ]
    narrow: list[Text | Prose] = []
    for (indent, status, where), line in zip(listed, aligned([head, *firsts], right={2})[1:], strict=True):
        pairs = counted(sum(status.run.totals.values()), "pair")
        rest = Text.assemble(f"{pairs}: ", render_line(status.run), f"; {where}")
        narrow += [line, Prose(rest, indent=4 + len(indent), hanging=2)]
    lines = aligned([(*head, Text("pairs"), Text("results"), Text("cloud")), *rows], right={2, 3})
    lines[0].stylize("bold")
    return WideOrNarrow(lines, narrow)


def render_kept(kept: Iterable[tuple[RunStatus, Sequence[str]]]) -> RenderableType:
    """Return a line per run, with the reasons to keep it."""
    rows = [(Text(status.run.key), Text(", ".join(reasons)), render_line(status.run)) for status, reasons in kept]
    narrow = [Prose(f"{run.plain}: {why.plain}", indent=2, hanging=4) for run, why, _ in rows]
    return WideOrNarrow(aligned(rows, indent=2), narrow)


def _name(status: RunStatus, indent: str) -> tuple[Text, Text, Text]:
    seconds = UNKNOWN if status.seconds is None else duration(status.seconds)
    return Text(indent + status.run.key), Text(status.state, STATE_STYLES.get(status.state, "")), Text(seconds)


def render_line(run: Run) -> Text:
    """Return the results of a run in a line."""
    counts = [
        (f"{count:,} {result.value}", STYLES[result]) for result in Result if (count := run.totals.get(result, 0))
    ]
    if run.opened:
        counts.append((f"{counted(run.opened, 'image')} opened", "green"))
    return Text(", ").join(Text(text, style) for text, style in counts) if counts else Text(UNKNOWN)


def _cloud(run: Run) -> str:
    return " ".join(part for part in (run.account.cloud, run.account.region) if part)
