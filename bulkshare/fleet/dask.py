"""The workers of a dask.distributed scheduler, and no more of it than is needed: the one module that knows Dask."""

from __future__ import annotations

import asyncio
import logging
import re
import signal
from concurrent.futures import CancelledError
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from bulkshare._version import __version__
from bulkshare.errors import BulkshareError, StoppedEarlyError, UsageError
from bulkshare.text import clean

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from distributed import Client, Future, LocalCluster


T = TypeVar("T")
M = TypeVar("M")

LOCAL = re.compile(r"local:(\d+)")
MOST_LOCAL = 64  # workers on this machine
SIDE_BY_SIDE = 8  # shards that a worker may work on: one of a cloud that is down keeps none of another waiting
ADDRESS = re.compile(r"(tcp|tls)://[^/\s@]+:\d+")
CONNECT_SECONDS = 10.0  # until a scheduler takes the connection
HELLO_SECONDS = CONNECT_SECONDS + 5.0  # and has answered: Dask itself waits forever for that


class AwayError(Exception):
    """A worker can't be reached now, or has gone."""


class Cluster:
    """A scheduler and its workers. `address` is how the user wrote it."""

    def __init__(self, client: Client, address: str) -> None:
        self._client = client
        self._comm = client.scheduler_comm
        self.address = address
        self._waiting: set[asyncio.Future[Any]] = set()

    @property
    def is_local(self) -> bool:
        """Whether its workers are processes of this machine that end with it."""
        return LOCAL.fullmatch(self.address) is not None

    @property
    def is_encrypted(self) -> bool:
        """Whether what is said to the workers can't be read on the way."""
        return self.address.startswith("tls://")

    def require_scheduler(self) -> None:
        """Raise `StoppedEarlyError` where the connection to the scheduler has ended."""
        if self._client.status != "running" or self._client.scheduler_comm is not self._comm:
            raise StoppedEarlyError(f"the fleet's scheduler {self.address} has gone")

    async def workers(self) -> frozenset[str]:
        """Return the addresses of those who are there now. Raises `AwayError` where the scheduler does not tell."""
        with _away():
            scheduler: Any = self._client.scheduler
            found = await scheduler.identity(n_workers=-1)
            return frozenset(found["workers"])

    async def ask(self, worker: str, function: Callable[[M], Awaitable[T]], message: M) -> T:
        """Call a function on a worker at once, whatever else it does. Raises what that raises, and `AwayError`.

        Raises `UsageError` where the worker does not have the function.
        """
        with _away():
            answers: dict[str, T] = await self._client.run(function, message, workers=[worker])
            return answers[worker]

    async def run_shard(self, worker: str, function: Callable[[M], Awaitable[T]], order: M, name: str) -> T:
        """Let a worker call a function in its turn; `name` is shown to everybody who sees the scheduler.

        Raises what that raises, and `AwayError`.
        """
        with _away():
            future = self._client.submit(
                function, order, key=name, workers=[worker], allow_other_workers=False, pure=False, retries=0
            )
            waiting = asyncio.ensure_future(_result(future))
            self._waiting.add(waiting)
            waiting.add_done_callback(self._done)
            try:
                await asyncio.wait({waiting})
            finally:
                with suppress(Exception):  # the scheduler may be gone, and the task with it
                    future.release()  # type: ignore[no-untyped-call]
            if waiting.cancelled():
                raise AwayError(f"{name} was given up")
            result: T = waiting.result()
            return result

    def _done(self, waiting: asyncio.Future[Any]) -> None:
        self._waiting.discard(waiting)
        if not waiting.cancelled():
            waiting.exception()  # nobody may be left who wants to know


async def _result(future: Future[Any]) -> Any:
    """Wait for a result. It must not be cancelled: Dask fetches several results at once, and would cancel them all."""
    return await future


@asynccontextmanager
async def open_cluster(address: str) -> AsyncIterator[Cluster]:
    """Connect to `tcp://host:port` or `tls://host:port`, or start workers of our own for `local:N`.

    TLS is configured as for all of Dask (`distributed.comm.tls`). Raises `UsageError`.
    """
    _check(address)
    try:
        import cryptography  # noqa: F401, PLC0415  as the next
        import distributed  # noqa: F401, PLC0415  only a fleet needs it, and the import is slow
    except ModuleNotFoundError as error:
        raise UsageError(f"--fleet needs the package {error.name}: pip install 'bulkshare[fleet]'") from error
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
async def _connected(where: LocalCluster | str) -> AsyncIterator[Client]:
    """Return a client that is connected. Raises `OSError`, and what Dask makes of what is no scheduler."""
    from distributed import Client  # noqa: PLC0415  as above

    client = Client(where, asynchronous=True, timeout=CONNECT_SECONDS)  # type: ignore[no-untyped-call]
    try:
        with anyio.move_on_after(HELLO_SECONDS) as hello:
            await client
        if hello.cancelled_caught:
            raise TimeoutError(f"no answer within {HELLO_SECONDS:g} s")
        yield client
    finally:
        await client.close()  # type: ignore[no-untyped-call]


@asynccontextmanager
async def _local_cluster(workers: int) -> AsyncIterator[LocalCluster]:
    """Start workers that take orders from nobody else: other users of this machine could run code as we, else.

    A Ctrl-C, which a terminal sends to all of its processes, is for us alone: they inherit that it is blocked. One that
    comes before they are there, comes when they are.
    """
    from distributed import LocalCluster  # noqa: PLC0415  as above

    starting = LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=workers,
        threads_per_worker=SIDE_BY_SIDE,
        processes=True,
        dashboard_address="127.0.0.1:0",
        memory_limit=0,  # a worker has a shard in memory, no more
        silence_logs=logging.CRITICAL,
        asynchronous=True,
        security=True,  # certificates of this cluster alone, which are in memory
    )
    resource_tracker.ensure_running()  # to start it with the first process would lift the block
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
    """Raise `UsageError` where Dask knows no certificates, which it tells in other words."""
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
    """Let Dask log nothing here: what there is to say of workers, we say ourselves."""
    for name in ("distributed", "distributed.client", "asyncio", "tornado"):  # its client has a level of its own
        logging.getLogger(name).setLevel(logging.CRITICAL)


class _away:  # noqa: N801  a context manager reads like a verb
    """Makes whatever goes wrong between us and a worker an `AwayError`; what our own functions raise passes.

    A worker that has none of our functions, or other ones, is a `UsageError`.
    """

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if error is None or isinstance(error, BulkshareError):
            return
        if type(error) is Exception:  # what Dask makes of a message that a worker can't read
            why = clean(str(error))
            raise UsageError(f"it can't be asked for bulkshare {__version__}: {why}; give all the same") from error
        if not _is_dasks(error):
            return
        raise AwayError(clean(f"{type(error).__name__}: {error}")) from error


def _is_dasks(error: BaseException) -> bool:
    """Tell whether an error is about the connection, the worker or the task, and no bug in what was called."""
    from distributed.comm.core import CommClosedError  # noqa: PLC0415  as above
    from distributed.scheduler import KilledWorker, NoValidWorkerError  # noqa: PLC0415

    # What `run` raises for a worker that is not there any more is a plain ValueError or KeyError of its own.
    own = isinstance(error, CommClosedError | KilledWorker | NoValidWorkerError | CancelledError | OSError)
    return own or isinstance(error, KeyError | ValueError | RuntimeError)
