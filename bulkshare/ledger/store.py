"""What a ledger's tables are kept in: the face that a file and a database server have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol

from bulkshare.errors import LedgerError

if TYPE_CHECKING:
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
