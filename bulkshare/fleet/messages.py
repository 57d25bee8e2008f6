"""What coordinator and workers send each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bulkshare.errors import BulkshareError
    from bulkshare.model import Account, Job, Outcome, Settings
    from bulkshare.model.events import Event


E = TypeVar("E", bound=BaseException)


def bare(error: E) -> E:
    """Return an error without what led to it: Dask sends that, too, and it may not pickle, or have the error in it."""
    error.__cause__ = error.__context__ = None
    return error


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinRequest:
    """Asks a worker to take part in a run, and not to take part in what the same run was before.

    `engagement` is a name that its coordinator has for this run and this meeting alone. `sealed` are credentials for
    this one worker; without them it has its own.
    """

    session_id: str
    run: str
    settings: Settings
    give_up_after_seconds: float
    sealed: bytes | None = field(default=None, repr=False)
    on_this_machine: bool = False  # its workers get the signals of our terminal


@dataclass(frozen=True, slots=True)
class Joined:
    """A worker takes part: as whom, and what its clock shows, in seconds."""

    account: Account
    clock: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A share of the limits, until `until` on the worker's clock. The worker answers with a `Report`.

    One that arrives after another with a larger number has come too late.
    """

    session_id: str
    number: int
    rate: float
    concurrency: int
    until: float
    pause_seconds: float = 0.0  # to send nothing for so long: another worker was told that requests come too fast
    stop: bool = False  # to send nothing any more, and give back what is done
    end: bool = False  # the run is over


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a worker's clock shows, what it has sent in all, and what its engines have told since its last report.

    `in_flight` are those of them that are not answered yet, which may be more than it is allowed by now.
    `cooling_seconds` is for how long the endpoint has asked this worker to send nothing, from now on.
    """

    clock: float
    requests: int
    in_flight: int
    allowed: int
    cooling_seconds: float
    events: list[Event] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A shard to work on. `probed` are those of its images that are known to take members."""

    session_id: str
    jobs: list[Job] = field(repr=False)
    probed: frozenset[str] = field(repr=False)


class Closed(NamedTuple):
    """Why an image takes no members. One that is only `full` has members whose acceptance may be left to do."""

    reason: str
    full: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """What became of a shard. What is not in `outcomes` was not done.

    `closed` are images that take no members; `error` is what ended the work before its time.
    """

    outcomes: list[Outcome] = field(repr=False)
    closed: dict[str, Closed] = field(repr=False)
    error: BulkshareError | None = None


class Remote(NamedTuple):
    """The functions that workers run; each of them takes one message, `greet` the version that all have to have."""

    handshake: Callable[[str], Awaitable[bytes]]
    muster: Callable[[JoinRequest], Awaitable[Joined]]
    exchange: Callable[[Grant], Awaitable[Report]]
    run_shard: Callable[[Order], Awaitable[Returned]]
