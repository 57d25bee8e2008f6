"""What coordinator and workers send each other, and how credentials are sealed for a worker."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bulkshare.errors import BulkshareError
    from bulkshare.model import Account, Job, Outcome, Settings


KEY_BYTES = 32
NONCE = bytes(12)
PURPOSE = b"bulkshare credentials 1"


class SealedBox:
    """Takes sealed messages. Who has `slot`, its public key, can seal some, and nobody but this object opens them."""

    def __init__(self) -> None:
        self._key = X25519PrivateKey.generate()
        self.slot = self._key.public_key().public_bytes_raw()

    def open(self, sealed: bytes) -> str:
        """Return what was sealed. Raises `cryptography.exceptions.InvalidTag` where it was not for us."""
        theirs, text = sealed[:KEY_BYTES], sealed[KEY_BYTES:]
        shared = self._key.exchange(X25519PublicKey.from_public_bytes(theirs))
        return _cipher(shared, theirs, self.slot).decrypt(NONCE, text, None).decode()


def seal(text: str, slot: bytes) -> bytes:
    """Return `text` so that the owner of the letterbox alone can read it."""
    once = X25519PrivateKey.generate()
    ours = once.public_key().public_bytes_raw()
    shared = once.exchange(X25519PublicKey.from_public_bytes(slot))
    return ours + _cipher(shared, ours, slot).encrypt(NONCE, text.encode(), None)


def _cipher(shared: bytes, ours: bytes, theirs: bytes) -> ChaCha20Poly1305:
    hkdf = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=PURPOSE + ours + theirs)
    return ChaCha20Poly1305(hkdf.derive(shared))


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
    told: list[tuple[str, tuple[Any, ...]]] = field(repr=False)  # an observer's event, and its arguments


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A shard to work on. `trusted` are those of its images that are known to take members."""

    session_id: str
    jobs: list[Job] = field(repr=False)
    trusted: frozenset[str] = field(repr=False)


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
