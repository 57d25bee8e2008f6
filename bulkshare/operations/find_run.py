"""Finds runs by the names that users give them."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from bulkshare.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bulkshare.ledger import SqlLedger
    from bulkshare.model import Run

LOOKED_BACK = 100  # runs: beyond that nobody means "the last run", or has mistyped the name


def find_run(ledger: SqlLedger, name: str | None, tell: Callable[[str], None]) -> Run:
    """Return a run by its key, the last one of a plan by the plan's name, or one by the beginning of its key.

    Where `name` is None it is the last run, one on a sandbox only where there is no other; `tell` is told what is
    passed over. Raises `UsageError`.
    """
    if name is None:
        return _last_run(ledger, tell)
    run = ledger.newest_run(name) or ledger.find_run(name)
    if run is None:
        known = [each for run in ledger.runs(limit=LOOKED_BACK) for each in (run.key, run.plan)]
        close = get_close_matches(name, list(dict.fromkeys(known)), n=3)
        instead = f"did you mean {' or '.join(close)}?" if close else "`bulkshare runs` lists them"
        raise UsageError(f"there is no run or plan {name!r}; {instead}")
    return run


def _last_run(ledger: SqlLedger, tell: Callable[[str], None]) -> Run:
    newest = ledger.find_run()
    if newest is None:
        raise UsageError("the ledger has no runs yet")
    if not newest.settings.sandbox:
        return newest
    other = next((run for run in ledger.runs(limit=LOOKED_BACK) if not run.settings.sandbox), None)
    if other is not None:
        tell(f"Run {newest.key} is later, on the sandbox: name it if you mean it.")
    return other or newest
