"""The seams between the engine and the edges of the program; each edge implements one and knows no other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from bulkshare.model import (
        Account,
        Job,
        Member,
        Outcome,
        Reply,
        Request,
        Result,
        Run,
        Settings,
        Step,
        Verdict,
    )


class Transport(Protocol):
    """Sends one request and tells what came of it. Layers (pace, identity) wrap a Transport and are one."""

    async def send(self, request: Request) -> Reply:
        """Send `request` once. Network errors are returned as `Fault`, never raised.

        Raises `CredentialsRefusedError` or `EndpointRefusedError` where the whole run has to stop.
        """
        ...


class Identity(Protocol):
    """Who we are for one cloud: an account, and tokens that prove it."""

    @property
    def account(self) -> Account:
        """As whom and where the run acts; known after the first log-in."""
        ...

    async def token(self) -> str:
        """Return the current token, logging in when there is none. Raises `CredentialsRefusedError`."""
        ...

    async def renew(self, refused: str) -> str:
        """Return a token other than `refused`; one log-in serves all who ask at once. Raises as `token`."""
        ...


class Ledger(Protocol):
    """The work list and the record. Blocking; called from one thread at a time. Every method that writes commits.

    Every method raises `LedgerError` when the store can't be read or written.
    """

    def begin(
        self, *, plan: str, fingerprint: str, account: Account, now: datetime, settings: Settings | None = None
    ) -> Run:
        """Write down a new run in state RUNNING, of this process and host, and return it."""
        ...

    def unfinished(self, *, plan: str, fingerprint: str, account: Account) -> Run | None:
        """Return the newest run of `plan` if it is not FINISHED, and of this fingerprint, endpoint and project."""
        ...

    def reopen(self, run_id: int, settings: Settings | None = None) -> Run:
        """Set an unfinished run to RUNNING again, of this process and host, with other settings where given."""
        ...

    def enqueue(self, run_id: int, blocks: Iterable[tuple[str, Sequence[str]]]) -> int:
        """Insert (image ID, member IDs) blocks as pending pairs unless they are there; return how many are new."""
        ...

    def mark_enqueued(self, run_id: int) -> None:
        """Write down that all the run's pairs have been enqueued."""
        ...

    def pending_images(self, run_id: int, *, after: str | None, limit: int) -> list[tuple[str, int]]:
        """Return up to `limit` (image ID, number of pending pairs), in a stable order, after image `after`."""
        ...

    def pending_members(self, run_id: int, image_id: str, *, after: str | None, limit: int) -> list[str]:
        """Return up to `limit` member IDs pending for the image, in a stable order, after member `after`."""
        ...

    def settle(self, run_id: int, outcomes: Sequence[Outcome]) -> None:
        """Record outcomes in one durable transaction."""
        ...

    def settle_rest(self, run_id: int, image_id: str, *, result: Result, reason: str, now: datetime) -> int:
        """Settle all pairs of the image that are still pending alike; return how many."""
        ...

    def undescribed(self, run_id: int) -> list[tuple[str, list[str]]]:
        """Return (image ID, member IDs) of pairs settled as `already` whose member fields are not known yet."""
        ...

    def describe(self, run_id: int, members: Sequence[Member]) -> None:
        """Fill in the cloud's fields (status, created_at, updated_at, schema) of settled pairs."""
        ...

    def totals(self, run_id: int) -> dict[Result, int]:
        """Count the run's pairs by result; every result is a key."""
        ...

    def finish(self, run_id: int, *, now: datetime, requests: int, retries: int, seconds: float) -> Run:
        """Record how this invocation ended: FINISHED where no pair is pending, else INTERRUPTED; sum up its effort."""
        ...

    def runs(self, *, limit: int | None = None) -> list[Run]:
        """Return the runs with their totals, newest first."""
        ...

    def last_enqueued(self, *, plan: str, account: Account) -> Run | None:
        """Return the newest run of `plan` at this endpoint and for this project whose pairs were all enqueued."""
        ...

    def prune(self, run_ids: Sequence[int], *, names: bool) -> None:
        """Delete runs and their pairs. With `names`, texts that no pair uses are deleted, and the file shrinks.

        Other processes remember the numbers of names: `names` only while no other run is at work on the ledger.
        """
        ...

    def find_run(self, key: str | None = None) -> Run | None:
        """Return the run of that key (or of a unique beginning of it), or the newest run; None where there is none."""
        ...

    def outcomes(self, run_id: int, *, results: frozenset[Result] | None = None) -> Iterator[Outcome]:
        """Stream the run's pairs in a stable order, all or only those with one of `results`."""
        ...


class Observer(Protocol):
    """Is told what happens, after it is true: outcomes only once the ledger holds them. Must not block or raise."""

    def phase(self, name: str, total: int) -> None:
        """A phase begins: "listing" (total: images), "sharing" (total: pairs), "describing" (total: images)."""
        ...

    def answered(self, step: Step, image_id: str, member_id: str | None, verdict: Verdict, seconds: float) -> None:
        """A reply came (or was given up on) after `seconds`."""
        ...

    def retrying(self, job: Job | str, verdict: Verdict, delay_seconds: float) -> None:
        """A request will be sent again, for a pair or (an image ID) a listing."""
        ...

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        """These outcomes are in the ledger."""
        ...

    def settled_rest(self, image_id: str, count: int, result: Result, reason: str) -> None:
        """All other pairs of an image were settled alike."""
        ...

    def listed(self, image_id: str, verdict: Verdict) -> None:
        """An image's members were listed, or could not be (the verdict's kind tells)."""
        ...
