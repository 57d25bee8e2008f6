"""The interface of a database that holds a ledger, and the retry of whatever a lost connection cut short."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar, Concatenate, ParamSpec, Protocol, TypeVar

from bulkshare.errors import LedgerError
from bulkshare.model import UNLIMITED, RetryPolicy, RetryState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from bulkshare.ledger.dialects import Dialect

BUSY_SECONDS = 30  # how long a writer waits for another process's transaction
RETRY_SECONDS = 60.0  # a server that restarts is back by then
# A steady, short wait: a run should have its lock back before anyone else asks the restarted server for it.
RETRY_POLICY = RetryPolicy(attempts=UNLIMITED, base_seconds=0.25, cap_seconds=0.25)

L = TypeVar("L")
P = ParamSpec("P")
T = TypeVar("T")


class ConnectionLostError(LedgerError):
    """The server can't be reached now. It may be back in a moment, and then the whole operation can be repeated."""


class PlanLock(Protocol):
    """A lock with at most one holder, released when the holder's process ends."""

    def try_acquire(self) -> bool:
        """Take the lock if it is free; return whether it was. Raises `LedgerError` if locking is impossible."""
        ...

    def release(self) -> None:
        """Release the lock if it is held."""
        ...


class Connection(ABC):
    """A connection in a transaction. Statements are as `dialects` says.

    A parameter that is a list becomes a list behind IN. Rows are sequences of the values that the driver returns.
    """

    dialect: Dialect

    @abstractmethod
    def rows(self, sql: str, /, **parameters: Any) -> list[Any]:
        """Return the rows of a query."""

    @abstractmethod
    def execute(self, sql: str, /, **parameters: Any) -> int:
        """Execute a statement and return how many rows it changed."""

    @abstractmethod
    def execute_many(self, sql: str, rows: Sequence[tuple[Any, ...]]) -> int:
        """Execute a statement for each row, in order, and return how many rows changed.

        A row has the statement's parameters in the order of its text.
        """

    def scalar(self, sql: str, /, **parameters: Any) -> Any:
        """Return the first value of a query's first row; None without any."""
        return next((row[0] for row in self.rows(sql, **parameters)), None)

    def scalars(self, sql: str, /, **parameters: Any) -> list[Any]:
        """Return the first value of each of a query's rows."""
        return [row[0] for row in self.rows(sql, **parameters)]


class Store(ABC):
    """A database that several processes share. Every failure is raised as `LedgerError`.

    One process writes at a time and others wait for it; readers never wait. `where` is the location as messages show
    it, without secrets.
    """

    where: str
    _errors: ClassVar[tuple[type[Exception], ...]]  # that the database raises

    @abstractmethod
    def reading(self) -> AbstractContextManager[Connection]:
        """Read from a snapshot: concurrent writes neither block it nor show in it."""

    @abstractmethod
    def writing(self, *, durable: bool = True) -> AbstractContextManager[Connection]:
        """Write in one transaction, which is durable when the context exits.

        Without `durable`, a power cut may undo it, and where that is possible it waits for no disk. Raises
        `ConnectionLostError` if repeating the whole transaction may help.
        """

    @abstractmethod
    def lock_of(self, plan: str) -> PlanLock:
        """Return the lock of a plan. Plan names are validated, and safe as part of a file name."""

    @abstractmethod
    def shrink(self) -> None:
        """Return the space of deleted rows to the system."""

    @abstractmethod
    def close(self) -> None:
        """Close all connections."""

    @abstractmethod
    def _failure(self, message: str, error: Exception) -> LedgerError:
        """Return the error to raise for one of the database's."""

    @contextmanager
    def _translating_errors(self, action: str) -> Iterator[None]:
        """Raise database errors as `LedgerError`, with the action that failed and the ledger's location."""
        try:
            yield
        except self._errors as error:
            raise self._failure(f"can't {action} the ledger {self.where}", error) from error
        except LedgerError as error:
            raise type(error)(f"can't use the ledger {self.where}: {error}") from error


def retry_lost(operation: Callable[[bool], T]) -> T:
    """Return what `operation` returns, repeating it for up to a minute while the connection is lost.

    Its argument is whether it may have been carried out before: a lost connection doesn't show if a commit arrived.
    Raises the last `ConnectionLostError` when the minute is over.
    """
    state = RetryState(RETRY_POLICY, total_seconds=RETRY_SECONDS)
    first_failure: float | None = None
    while True:
        try:
            return operation(state.failures > 0)
        except ConnectionLostError:
            now = time.monotonic()
            first_failure = now if first_failure is None else first_failure
            delay_seconds = state.next_delay(elapsed_seconds=now - first_failure)
            if delay_seconds is None:
                raise
            time.sleep(delay_seconds)


def retrying(method: Callable[Concatenate[L, P], T]) -> Callable[Concatenate[L, P], T]:
    """Repeat a method as `retry_lost` does. Its writes must be idempotent."""

    @wraps(method)
    def repeated(ledger: L, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return retry_lost(lambda _again: method(ledger, *args, **kwargs))

    return repeated
