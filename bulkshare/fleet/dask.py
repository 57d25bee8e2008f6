"""The workers of a dask.distributed scheduler. The only module that knows Dask."""

from __future__ import annotations

import asyncio
import logging
import re
import signal
from concurrent.futures import CancelledError
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from importlib.util import find_spec
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from bulkshare._version import __version__
from bulkshare.errors import BulkshareError, StoppedEarlyError, UsageError
from bulkshare.text import clean, how_to_install

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from distributed import Client, Future, LocalCluster


T = TypeVar("T")
M = TypeVar("M")

LOCAL = re.compile(r"local:(\d+)")
MOST_LOCAL = 64  # workers on this machine
SHARDS_PER_WORKER = 8  # at a time, so that those of a cloud that is down don't block another cloud's
ADDRESS = re.compile(r"(tcp|tls)://[^/\s@]+:\d+")
CONNECT_SECONDS = 10.0  # for the connection to a scheduler
ANSWER_SECONDS = CONNECT_SECONDS + 5.0  # for its first answer, which Dask itself awaits forever


class WorkerUnavailableError(Exception):
    """A worker can't be reached now, or is gone."""


class Cluster:
    """A scheduler and its workers. `address` is as the user wrote it."""

    def __init__(self, client: Client, address: str) -> None:
        self._client = client
        self._comm = client.scheduler_comm
        self.address = address
        self._waiting: set[asyncio.Future[Any]] = set()

    @property
    def is_local(self) -> bool:
        """Whether its workers are child processes on this machine."""
        return LOCAL.fullmatch(self.address) is not None

    @property
    def is_encrypted(self) -> bool:
        """Whether messages to the workers are encrypted."""
        return self.address.startswith("tls://")

    def require_scheduler(self) -> None:
        """Raise `StoppedEarlyError` if the connection to the scheduler has ended."""
        if self._client.status != "running" or self._client.scheduler_comm is not self._comm:
            raise StoppedEarlyError(f"the fleet's scheduler {self.address} is gone")

    async def workers(self) -> frozenset[str]:
        """Return the addresses of the workers present. Raises `WorkerUnavailableError` if the scheduler can't say."""
        with _translating_errors():
            scheduler: Any = self._client.scheduler
            found = await scheduler.identity(n_workers=-1)
            return frozenset(found["workers"])

    async def ask(self, worker: str, function: Callable[[M], Awaitable[T]], message: M) -> T:
        """Call a function on a worker at once, whatever else it does.

        Raises what the function raises, `WorkerUnavailableError`, and `UsageError` if the worker lacks the function.
        """
        with _translating_errors():
            answers: dict[str, T] = await self._client.run(function, message, workers=[worker])
            return answers[worker]

    async def run_shard(self, worker: str, function: Callable[[M], Awaitable[T]], order: M, name: str) -> T:
        """Queue a function call on a worker; `name` is visible to everyone who can see the scheduler.

        Raises what the function raises, and `WorkerUnavailableError`.
        """
        with _translating_errors():
            future = self._client.submit(
                function, order, key=name, workers=[worker], allow_other_workers=False, pure=False, retries=0
            )
            waiting = asyncio.ensure_future(_result(future))
            self._waiting.add(waiting)
            waiting.add_done_callback(self._done)
            try:
                await asyncio.wait({waiting})
            finally:
                with suppress(Exception):  # the scheduler may be gone
                    future.release()  # type: ignore[no-untyped-call]
            if waiting.cancelled():
                raise WorkerUnavailableError(f"{name} was abandoned")
            result: T = waiting.result()
            return result

    def _done(self, waiting: asyncio.Future[Any]) -> None:
        self._waiting.discard(waiting)
        if not waiting.cancelled():
            waiting.exception()  # retrieved, so that asyncio does not warn if no one awaits it


async def _result(future: Future[Any]) -> Any:
    """Wait for a result. Must not be cancelled: Dask fetches several results together, and would cancel them all."""
    return await future


@asynccontextmanager
async def open_cluster(address: str) -> AsyncIterator[Cluster]:
    """Connect to `tcp://host:port` or `tls://host:port`, or start our own workers for `local:N`.

    TLS is configured as for Dask in general (`distributed.comm.tls`). Raises `UsageError`.
    """
    _check(address)
    try:
        import cryptography  # noqa: F401, PLC0415  as the next
        import distributed  # noqa: F401, PLC0415  only a fleet needs it, and the import is slow
    except ModuleNotFoundError as error:
        raise UsageError(f"--fleet needs the package {error.name}: {how_to_install('fleet')}") from error
    _quieten()
    if address.startswith("tls://"):
        _require_certificates(address)
    async with AsyncExitStack() as stack:
        local = LOCAL.fullmatch(address)
        try:
            cluster = await stack.enter_async_context(_local_cluster(int(local[1]))) if local else None
            client = await stack.enter_async_context(_connected(cluster or address))
        except (OSError, ValueError, TypeError) as error:
            raise UsageError(f"--fleet {address}: {clean(str(error) or type(error).__name__)}") from error
        yield Cluster(client, address)


@asynccontextmanager
async def _connected(target: LocalCluster | str) -> AsyncIterator[Client]:
    """Return a connected client. Raises `OSError`, and whatever Dask raises for something else than a scheduler."""
    from distributed import Client  # noqa: PLC0415  as above

    client = Client(target, asynchronous=True, timeout=CONNECT_SECONDS)  # type: ignore[no-untyped-call]
    try:
        with anyio.move_on_after(ANSWER_SECONDS) as waiting:
            await client
        if waiting.cancelled_caught:
            raise TimeoutError(f"no answer within {ANSWER_SECONDS:g} s")
        yield client
    finally:
        await client.close()  # type: ignore[no-untyped-call]


@asynccontextmanager
async def _local_cluster(workers: int) -> AsyncIterator[LocalCluster]:
    """Start workers that accept tasks from us only: otherwise other users of this machine could run code as us.

    A terminal sends Ctrl-C to all of its processes, and it is for us alone: the workers inherit that it is blocked. A
    Ctrl-C during their start is delivered after it.
    """
    from distributed import LocalCluster  # noqa: PLC0415  as above

    starting = LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=workers,
        threads_per_worker=SHARDS_PER_WORKER,
        processes=True,
        dashboard_address="127.0.0.1:0",
        memory_limit=0,  # none: a worker holds only its shards
        silence_logs=logging.CRITICAL,
        asynchronous=True,
        security=True,  # with temporary certificates, kept in memory
        config={"distributed.admin.event-loop": "uvloop" if find_spec("uvloop") else "asyncio"},  # of the workers
    )
    resource_tracker.ensure_running()  # starting it with the first process would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        await starting
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    async with starting:
        yield starting


def _check(address: str) -> None:
    local = LOCAL.fullmatch(address)
    if (local and 1 <= int(local[1]) <= MOST_LOCAL) or ADDRESS.fullmatch(address):
        return
    raise UsageError(
        f"--fleet {clean(address)!r}: write tls://host:8786 or tcp://host:8786 for a scheduler's address, or local:4 "
        f"for workers on this machine (at most {MOST_LOCAL})"
    )


def _require_certificates(address: str) -> None:
    """Raise `UsageError` if Dask has no certificates; its own error would be obscure."""
    from distributed import Security  # noqa: PLC0415  as above

    try:
        known = Security().get_connection_args("client").get("ssl_context")  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise UsageError(f"--fleet {address}: its TLS files: {clean(str(error))}") from error
    if known is None:
        prefix = "DASK_DISTRIBUTED__COMM__TLS__"
        raise UsageError(
            f"--fleet {address}: TLS is not configured: set {prefix}CA_FILE, {prefix}CLIENT__CERT and "
            f"{prefix}CLIENT__KEY to files"
        )


def _quieten() -> None:
    """Silence Dask's log in this process: we report on workers ourselves."""
    for name in ("distributed", "distributed.client", "asyncio", "tornado"):  # its client has its own level
        logging.getLogger(name).setLevel(logging.CRITICAL)


@contextmanager
def _translating_errors() -> Iterator[None]:
    """Raise `WorkerUnavailableError` for errors of Dask or the connection; our own functions' errors pass.

    A worker that lacks our functions, or has other versions of them, is a `UsageError`.
    """
    try:
        yield
    except BulkshareError:
        raise
    except BaseException as error:
        if type(error) is Exception:  # Dask's error for a message that a worker can't deserialize
            reason = clean(str(error))
            raise UsageError(
                f"it does not understand bulkshare {__version__}: {reason}; install the same version everywhere"
            ) from error
        if not _is_from_dask(error):
            raise
        raise WorkerUnavailableError(clean(f"{type(error).__name__}: {error}")) from error


def _is_from_dask(error: BaseException) -> bool:
    """Return whether an error is about the connection, the worker or the task, not a bug in the function."""
    from distributed.comm.core import CommClosedError  # noqa: PLC0415  as above
    from distributed.scheduler import KilledWorker, NoValidWorkerError  # noqa: PLC0415

    # For a worker that is gone, `run` raises a plain ValueError or KeyError.
    own = isinstance(error, CommClosedError | KilledWorker | NoValidWorkerError | CancelledError | OSError)
    return own or isinstance(error, KeyError | ValueError | RuntimeError)
