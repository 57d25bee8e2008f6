"""Patience with a database server: what was asked of it while it was away is asked again."""

from __future__ import annotations

import time
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from bulkshare.ledger.store import ConnectionLostError

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE_SECONDS = 60.0  # a server that is restarted is back by then
PAUSE_SECONDS = 0.5

L = TypeVar("L")
P = ParamSpec("P")
T = TypeVar("T")


def insist(ask: Callable[[bool], T]) -> T:
    """Return what `ask` returns; where the server can't be asked, ask again (and say so) for a minute.

    Raises the last `ConnectionLostError` then.
    """
    deadline = None
    while True:
        try:
            return ask(deadline is not None)
        except ConnectionLostError:
            deadline = deadline or time.monotonic() + PATIENCE_SECONDS
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE_SECONDS)


def lasting(method: Callable[Concatenate[L, P], T]) -> Callable[Concatenate[L, P], T]:
    """Let a method insist; what it writes may be written twice."""

    @wraps(method)
    def insisting(ledger: L, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return insist(lambda _again: method(ledger, *args, **kwargs))

    return insisting
