"""Finds out what takes back a run: what it changed, who has changed that since, and how the cloud is now."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import anyio.to_thread

from bulkshare.errors import UsageError
from bulkshare.ledger.lock import is_dead
from bulkshare.model import Plan, Result, RunState
from bulkshare.operations.defaults import open_ledger
from bulkshare.operations.history import find_runs
from bulkshare.operations.survey import Search, survey
from bulkshare.plan.undo import CHANGES, Left, changed_something, reversal
from bulkshare.text import counted

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterator, Mapping, Sequence

    from bulkshare.ledger import SqlLedger
    from bulkshare.model import Account, Entry, Image, Member, Outcome, Run
    from bulkshare.operations.listener import Listener
    from bulkshare.operations.options import Options
    from bulkshare.operations.survey import Survey

    Pair = tuple[str, str]  # image ID, member ID

UNDO = "undo"  # the plan's name in the ledger
PERHAPS = frozenset({Result.PENDING, Result.FAILED, Result.REJECTED})  # of pairs that may be ADDED all the same
MADE_BY_COMMANDS = frozenset({"adhoc", "offboard", "accept", UNDO})  # plans that no file will run again


@dataclass(slots=True)
class Undo:
    """What takes back the runs of a command.

    runs: at least one.
    plan: what is to be done; None: nothing.
    left: pairs that are left as they are.
    undone: how many changes are no longer there.
    names: of images and projects by ID, as far as they are known.
    """

    runs: Sequence[Run]
    plan: Plan | None
    left: list[Left] = field(default_factory=list)
    undone: int = 0
    names: dict[str, str] = field(default_factory=dict)


async def look(
    name: str,
    options: Options,
    listener: Listener,
    *,
    unfinished: bool,
    force: bool,
    signals: tuple[signal.Signals, ...] = (),
) -> Undo:
    """Return what takes back the runs that `name` means, as for `find_runs`. Sends no write.

    unfinished: also runs that were interrupted, as far as they got.
    force: also what was changed since.

    Raises `UsageError` if a run can't be taken back, and the error that kept a cloud from being looked at.
    """
    notes: list[str] = []
    read = partial(_read_runs, name, options, notes, unfinished=unfinished)
    runs = await anyio.to_thread.run_sync(read)
    for note in notes:
        listener.note(note)
    undo = Undo([run.run for run in runs], None)
    entries: list[Entry] = []
    several = len(runs) > 1
    for run in runs:
        undo.names |= run.names
        if run.changed:
            entries += await _look_at(run, undo, options, listener, several=several, force=force, signals=signals)
    if entries:
        settings = runs[0].run.settings
        clouds = [
            run.run.settings.cloud for run in runs if any(each.cloud == run.run.settings.cloud for each in entries)
        ]
        undo.plan = Plan(
            UNDO,
            tuple(entries),
            clouds=_clouds(clouds if several else [settings.cloud], options),
            region=settings.region,
            limits=settings.limits,
            retry=settings.retry,
            api=settings.api,
            check_projects=settings.check_projects,
            names=undo.names,
        )
    return undo


def _clouds(clouds: Sequence[str | None], options: Options) -> tuple[str, ...]:
    """Return a plan's clouds; none if the options or the environment say where to log in."""
    return () if options.cloud is not None else tuple(cloud for cloud in clouds if cloud is not None)


@dataclass(frozen=True, slots=True)
class _Changed:
    """A run, the pairs that it changed, and the later runs that have changed them."""

    run: Run
    changed: Mapping[Pair, Outcome]
    later: Mapping[Pair, str]
    names: Mapping[str, str]


def _read_runs(name: str, options: Options, notes: list[str], *, unfinished: bool) -> list[_Changed]:
    """Read from the ledger what runs have changed. Blocking."""
    with open_ledger(options.ledger, create=False) as ledger:
        runs = find_runs(ledger, name, notes.append)
        if len(runs) > 1 and options.cloud is not None:
            runs = [run for run in runs if run.settings.cloud == options.cloud]
            if not runs:
                raise UsageError(f"{name} had no run on cloud {options.cloud}; `bulkshare show {name}` lists them")
        everything = ledger.runs()
        for run in runs:
            _check(run, everything, notes, unfinished=unfinished)
        return [_read(ledger, run, everything) for run in runs]


def _check(run: Run, runs: Sequence[Run], notes: list[str], *, unfinished: bool) -> None:
    """Raise `UsageError` if a run can't be taken back, with what to do."""
    if run.settings.sandbox:
        raise UsageError(f"run {run.key} was on a sandbox, which ended with the run: there is nothing to undo")
    for other in runs:
        if other.plan == run.plan and other.state is RunState.RUNNING and not is_dead(other):
            raise UsageError(
                f"run {other.key} of plan {run.plan} is at work: wait for its end, or stop it (Ctrl-C, or `kill -INT "
                f"{other.pid}` on {other.host}), and undo then"
            )
    if run.state is not RunState.FINISHED:
        left = counted(run.totals.get(Result.PENDING, 0), "pair")
        if not unfinished:
            raise UsageError(
                f"run {run.key} is unfinished, with {left} pending: finish it with `bulkshare resume {run.key}`, or "
                "add --unfinished to undo what it has done so far"
            )
        notes.append(
            f"run {run.key} is unfinished: what it has done so far is undone, and its {left} pending are left; what it "
            "was doing when it was killed, if it was, is not in the ledger"
        )
    if run.opened:
        images = counted(run.opened, "image")
        notes.append(
            f"run {run.key} made {images} shared: that stays, and without members only their project sees them"
        )
    if run.plan not in MADE_BY_COMMANDS:
        notes.append(f"the next run of plan {run.plan} will make the same changes again, unless the plan is changed")


def _read(ledger: SqlLedger, run: Run, runs: Sequence[Run]) -> _Changed:
    changed = {(each.image_id, each.member_id): each for each in _changes(ledger, run)}
    later: dict[Pair, str] = {}
    for other in reversed(runs):  # the newest one counts
        if other.id == run.id or other.account.endpoint != run.account.endpoint:
            continue
        if (other.worked_at or other.started_at) < run.started_at:
            continue
        for outcome in _changes(ledger, other):
            pair = outcome.image_id, outcome.member_id
            before = changed.get(pair)
            if before is not None and _is_later(outcome, before):
                later[pair] = other.key
    return _Changed(run, changed, later, ledger.labels(run.id) if changed else {})


def _changes(ledger: SqlLedger, run: Run) -> Iterator[Outcome]:
    """Yield the outcomes with which a run changed something."""
    results = {result for result in CHANGES if run.totals.get(result)}
    results |= {result for result in PERHAPS if run.totals.get(result)}
    if results:
        yield from (each for each in ledger.outcomes(run.id, results=frozenset(results)) if changed_something(each))


def _is_later(outcome: Outcome, before: Outcome) -> bool:
    if outcome.settled_at is None or before.settled_at is None:
        return outcome.settled_at is None and before.settled_at is not None
    return outcome.settled_at > before.settled_at


async def _look_at(
    run: _Changed,
    undo: Undo,
    options: Options,
    listener: Listener,
    *,
    several: bool,
    force: bool,
    signals: tuple[signal.Signals, ...],
) -> tuple[Entry, ...]:
    """List the images of a run, and return the entries that take it back; what is left goes into `undo`."""
    settings, members = run.run.settings, dict[str, dict[str, "Member"]]()

    def found(_: Survey, image: Image, listed: Sequence[Member]) -> None:
        members[image.id] = {member.member_id: member for member in listed}

    limits = options.limits(settings.limits)
    search = Search(
        _clouds([settings.cloud], options),
        images=list(dict.fromkeys(image_id for image_id, _ in run.changed)),
        region=settings.region,
    )
    options = replace(options, rate=limits.rate, concurrency=limits.concurrency)
    (seen,) = await survey(search, options, listener, found, doing=UNDO, signals=signals)
    if seen.error is not None:
        raise seen.error
    if seen.account is not None:
        _check_same(run.run, seen.account)
    undo.names |= seen.projects.names
    unlisted = {
        image_id: f"the image's members can't be listed: {seen.unlisted.get(image_id) or 'it takes none any more'}"
        for image_id in search.images
        if isinstance(image_id, str) and image_id not in members
    }
    back = reversal(run.changed.values(), members, unlisted=unlisted, later=run.later, force=force)
    undo.left += back.left
    undo.undone += back.undone
    return back.entries(settings.cloud if several else None)


def _check_same(run: Run, account: Account) -> None:
    """Raise `UsageError` unless the log-in is for the place where the run was."""
    if (run.account.endpoint, run.account.project_id) != (account.endpoint, account.project_id):
        raise UsageError(
            f"run {run.key} acted for project {run.account.project} ({run.account.project_id}) at "
            f"{run.account.endpoint}, and this log-in does for {account.project} ({account.project_id}) at "
            f"{account.endpoint}: a run is undone for the same project at the same endpoint"
        )
