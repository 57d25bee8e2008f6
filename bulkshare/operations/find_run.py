"""Finds runs by the names that users give them."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from bulkshare.errors import UsageError
from bulkshare.model import RunState

if TYPE_CHECKING:
    from collections.abc import Callable

    from bulkshare.ledger import SqlLedger
    from bulkshare.model import Run

MOST_RUNS = 100  # to look through for the last run, or for names like a mistyped one


def find_run(ledger: SqlLedger, name: str | None, note: Callable[[str], None]) -> Run:
    """Return the run that `name` means: its key, the beginning of its key, or a plan's name for its last run. Blocking.

    None means the last run; one on a sandbox only if there are no others, and `note` gets a message if one is passed
    over. Raises `UsageError` if there is no such run.
    """
    if name is None:
        return _last_run(ledger, note)
    run = ledger.newest_run(name) or ledger.find_run(name)
    if run is None:
        known = [each for run in ledger.runs(limit=MOST_RUNS) for each in (run.key, run.plan)]
        close = get_close_matches(name, list(dict.fromkeys(known)), n=3)
        instead = f"did you mean {' or '.join(close)}?" if close else "`bulkshare runs` lists them"
        raise UsageError(f"there is no run or plan {name!r}; {instead}")
    return run


def unfinished_runs(ledger: SqlLedger, plan: str, *, sandbox: bool) -> list[Run]:
    """Return the newest run of a plan at each place, as far as these are unfinished. Blocking."""
    newest: dict[tuple[str, str], Run] = {}
    for run in ledger.runs(plan=plan):
        if run.settings.sandbox == sandbox:
            newest.setdefault((run.account.endpoint, run.account.project_id), run)
    return [run for run in newest.values() if run.state is not RunState.FINISHED]


def _last_run(ledger: SqlLedger, note: Callable[[str], None]) -> Run:
    newest = ledger.find_run()
    if newest is None:
        raise UsageError("the ledger has no runs yet")
    if not newest.settings.sandbox:
        return newest
    other = next((run for run in ledger.runs(limit=MOST_RUNS) if not run.settings.sandbox), None)
    if other is not None:
        note(f"Run {newest.key} is newer, on a sandbox: name it if you mean it.")
    return other or newest
