"""What the ledger's tables are kept in, and how a lost connection is retried."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Protocol, TypeVar

from bulkshare.errors import LedgerError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from sqlalchemy import Connection


class ConnectionLostError(LedgerError):
    """The server can't be asked now; it may be in a moment, and then all of it may be done again."""


class PlanLock(Protocol):
    """A lock that one holder has at a time, and that is free once its holder is gone."""

    def try_acquire(self) -> bool:
        """Take the lock if it is free, and tell whether it was. Raises `LedgerError` where there can be no lock."""
        ...

    def release(self) -> None:
        """Give the lock back if it was taken."""
        ...


class Store(ABC):
    """A database that several processes may use. Raises `LedgerError` for whatever goes wrong with it.

    One process writes at a time, and others wait; readers don't.
    """

    @abstractmethod
    def reading(self) -> AbstractContextManager[Connection]:
        """Read from a snapshot: a run that writes meanwhile neither waits nor shows."""

    @abstractmethod
    def writing(self) -> AbstractContextManager[Connection]:
        """Write in one transaction, durable when the context has ended.

        Raises `ConnectionLostError` where it may help to do all of it again.
        """

    @abstractmethod
    def lock_of(self, plan: str) -> PlanLock:
        """Return the lock of a plan. Its name is a checked plan's, safe in the name of a file."""

    @abstractmethod
    def shrink(self) -> None:
        """Give back the room that deleted rows have left."""

    @abstractmethod
    def close(self) -> None:
        """Close it."""


PATIENCE_SECONDS = 60.0  # a server that is restarted is back by then
PAUSE_SECONDS = 0.5

L = TypeVar("L")
P = ParamSpec("P")
T = TypeVar("T")


def retry_lost(ask: Callable[[bool], T]) -> T:
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


def retrying(method: Callable[Concatenate[L, P], T]) -> Callable[Concatenate[L, P], T]:
    """Let a method insist; what it writes may be written twice."""

    @wraps(method)
    def insisting(ledger: L, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return retry_lost(lambda _again: method(ledger, *args, **kwargs))

    return insisting
