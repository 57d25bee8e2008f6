"""What coordinator and workers send each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from bulkshare._version import __version__
from bulkshare.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bulkshare.errors import BulkshareError
    from bulkshare.model import Account, Outcome, Settings, Want
    from bulkshare.model.events import Event


E = TypeVar("E", bound=BaseException)


def require_version(version: str) -> None:
    """Raise `UsageError` unless this is the version of bulkshare here: all workers must have the coordinator's."""
    if version != __version__:
        raise UsageError(f"it has bulkshare {__version__}, and the run is of {version}; install the same everywhere")


def without_causes(error: E) -> E:
    """Return an error without its causes: Dask would send them, too, and they may be cyclic or not picklable."""
    error.__cause__ = error.__context__ = None
    return error


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinRequest:
    """Asks a worker to join a run, and to leave any earlier session of the same run.

    session_id: the coordinator's name for this run and this joining.
    run: identifies the run across coordinators.
    settings: limits, retries and cloud of the run.
    give_up_after_seconds: how long the endpoint may be down.
    sealed: credentials for this worker alone; without them it uses its own.
    on_this_machine: whether the worker gets the signals of our terminal.
    every_answer: report each answer, not only how many there were.
    """

    session_id: str
    run: str
    settings: Settings
    give_up_after_seconds: float
    sealed: bytes | None = field(default=None, repr=False)
    on_this_machine: bool = False
    every_answer: bool = False


@dataclass(frozen=True, slots=True)
class JoinReply:
    """A worker has joined, with this account; `clock` is its monotonic time in seconds."""

    account: Account
    clock: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A share of the limits, valid until `until` on the worker's clock. The worker answers with a `Report`.

    A grant that arrives after one with a larger number is ignored.
    """

    session_id: str
    number: int
    rate: float
    concurrency: int
    until: float
    paused: bool = False  # send nothing new: someone has paused the run
    pause_seconds: float = 0.0  # send nothing for this long: the endpoint has throttled another worker
    stop: bool = False  # send nothing more, and return what is done
    end: bool = False  # the run is over


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The state of a worker.

    clock: its monotonic time in seconds.
    requests: sent in all.
    in_flight: requests not yet answered, possibly more than it is now allowed.
    allowed: requests it may have in flight.
    cooling_seconds: for how long, from now, the endpoint has asked it to send nothing.
    events: of its engines since the last report.
    """

    clock: float
    requests: int
    in_flight: int
    allowed: int
    cooling_seconds: float
    events: list[Event] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardTask:
    """A shard to work on. `probed` are those of its images that are known to take members.

    jobs: as plain tuples, which take a fifth of the time to pickle.
    """

    session_id: str
    jobs: list[tuple[str, str, Want]] = field(repr=False)
    probed: frozenset[str] = field(repr=False)


class Closed(NamedTuple):
    """Why an image takes no members. If it is only `full`, acceptances of its members may remain."""

    reason: str
    full: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardResult:
    """The result of a shard. Pairs that are not in `outcomes` were not done.

    `closed` are images that take no members; `error` is what ended the work early.
    """

    outcomes: list[Outcome] = field(repr=False)
    closed: dict[str, Closed] = field(repr=False)
    error: BulkshareError | None = None


class Remote(NamedTuple):
    """The functions that workers run. Each takes one message; `handshake` takes the version that all must have."""

    handshake: Callable[[str], Awaitable[bytes]]
    join: Callable[[JoinRequest], Awaitable[JoinReply]]
    exchange: Callable[[Grant], Awaitable[Report]]
    run_shard: Callable[[ShardTask], Awaitable[ShardResult]]
