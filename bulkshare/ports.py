"""The interfaces between the engine and the edges of the program. Each edge implements one and knows no other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from bulkshare.model import (
        Account,
        Alike,
        Backlog,
        Batch,
        Block,
        Job,
        KnownProjects,
        Member,
        Orders,
        Origin,
        Outcome,
        Project,
        ProjectSelector,
        Reply,
        Request,
        Result,
        Run,
        Settings,
        Telemetry,
        Want,
    )
    from bulkshare.model.events import Event


class Transport(Protocol):
    """Sends one request and returns the reply. Layers (pace, identity) wrap a Transport and are Transports, too."""

    async def send(self, request: Request) -> Reply:
        """Send `request` once. Network errors are returned as `Fault`, never raised.

        Raises `CredentialsRefusedError` or `EndpointRefusedError` if the whole run must stop.
        """
        ...


class Identity(Protocol):
    """Our identity on one cloud: an account, and the tokens for it."""

    @property
    def account(self) -> Account:
        """The account in use; known after the first log-in."""
        ...

    async def token(self, project: str | None = None) -> str:
        """Return the current token, of `project` if given, logging in if there is none.

        Raises `CredentialsRefusedError`, and `NoRoleError` if our user has no role in `project`.
        """
        ...

    async def renew(self, refused: str, project: str | None = None) -> str:
        """Return a token other than `refused`; one log-in serves all concurrent calls. Raises as `token`."""
        ...


class Directory(Protocol):
    """The projects that the identity service knows. Raises `DirectoryError` if it can't be queried."""

    async def projects(self, selector: ProjectSelector) -> list[Project]:
        """Return the projects that pass the service's own filters; a selector's globs and tags may still not match."""
        ...

    async def known(self, project_ids: Collection[str]) -> KnownProjects:
        """Return which of the IDs are projects, as far as our user may know."""
        ...


class WorkList(Protocol):
    """The part of a ledger that an engine uses: a run's pending pairs, and the record of their outcomes."""

    def enqueue(self, run_id: int, blocks: Iterable[Block]) -> int:
        """Insert the blocks' pairs as pending unless they exist; return how many are new.

        A settled pair stays as it is. A pending one takes the new want, and keeps ALREADY_MEMBER if it had it.
        """
        ...

    def images_to_list(self, run_id: int, *, settled_before: datetime, after: str | None, limit: int) -> list[Backlog]:
        """Return up to `limit` images with pending pairs or with pairs that were settled before a time.

        In a stable order, after image `after`; with the number of all their settled pairs. What is wanted of them is
        REMOVE if one of the pending pairs is a removal, and otherwise none.
        """
        ...

    def count_to_list(self, run_id: int, *, settled_before: datetime) -> int:
        """Return how many images `images_to_list` has."""
        ...

    def image_pairs(self, run_id: int, image_id: str) -> list[tuple[Block, Result]]:
        """Return all pairs of the image: those with the same want and result as one block, in a stable order."""
        ...

    def unsettle(self, run_id: int, image_id: str, member_ids: Sequence[str]) -> None:
        """Make pairs pending again, as if they had not been tried."""
        ...

    # `removals` limits what follows to pending removals (True), or to all other pending pairs (False).

    def pending_images(
        self, run_id: int, *, after: str | None, limit: int, removals: bool | None = None
    ) -> list[Backlog]:
        """Return up to `limit` images with pending pairs, in a stable order, after image `after`."""
        ...

    def pending_jobs(
        self, run_id: int, image_id: str, *, after: str | None, limit: int, removals: bool | None = None
    ) -> list[Job]:
        """Return up to `limit` pending pairs of the image, in a stable order, after member `after`."""
        ...

    def pending_jobs_between(self, run_id: int, first: str, last: str, *, removals: bool | None = None) -> list[Job]:
        """Return all pending pairs of the images from `first` to `last`, image by image, as `pending_images` does."""
        ...

    def pending_wants(self, run_id: int, image_ids: Collection[str], member_id: str) -> dict[str, Want]:
        """Return what is wanted of this member, by image: of those pairs that are in the run, and pending."""
        ...

    def mark_listed(self, run_id: int, image_id: str, member_ids: Sequence[str]) -> None:
        """Add `Want.ALREADY_MEMBER` to pending pairs."""
        ...

    def mark_was_accepted(self, run_id: int, image_id: str, member_ids: Sequence[str]) -> None:
        """Add `Want.WAS_ACCEPTED` to pending pairs."""
        ...

    def open_batch(self, run_id: int, batch: Batch) -> None:
        """Record a batch that is about to be sent."""
        ...

    def set_job(self, run_id: int, number: int, job_id: str) -> None:
        """Record the job that the cloud started for a batch; an ID has at most 255 characters."""
        ...

    def close_batch(self, run_id: int, number: int) -> None:
        """Forget a batch: what became of its pairs is known."""
        ...

    def open_batches(self, run_id: int) -> list[Batch]:
        """Return the batches of which it isn't known what became of them, in the order in which they were sent."""
        ...

    def mark_added(self, run_id: int, image_id: str, member_ids: Sequence[str]) -> None:
        """Add `Want.ALREADY_MEMBER` and `Want.ADDED` to pending pairs: this run has added them."""
        ...

    def settle(self, run_id: int, outcomes: Sequence[Outcome]) -> None:
        """Record outcomes in one durable transaction; the wants stay as enqueued.

        Except that `Want.ADDED` in a rejected or failed outcome is kept, as by `mark_added`.
        """
        ...

    def settle_alike(self, run_id: int, groups: Sequence[Alike]) -> None:
        """Record the outcomes of these pairs, for which nothing was sent, in one durable transaction."""
        ...

    def settle_rest(
        self, run_id: int, image_id: str, *, result: Result, reason: str, now: datetime, removals: bool | None = None
    ) -> int:
        """Settle all pending pairs of the image with the same result; return how many there were."""
        ...

    def undescribed(self, run_id: int, *, after: str | None, limit: int) -> list[tuple[str, list[str]]]:
        """Return (image ID, member IDs) of pairs answered as `already` whose member fields are still unknown.

        At most `limit` images, in a stable order, after image `after`.
        """
        ...

    def describe(self, run_id: int, members: Sequence[Member]) -> None:
        """Fill in the cloud's fields (status, created_at, updated_at, schema) of settled pairs."""
        ...

    def mark_opened(self, run_id: int, image_ids: Sequence[str], at: datetime | None) -> None:
        """Record that the run made the images shared; None: that it is about to ask for it."""
        ...

    def opening(self, run_id: int) -> list[str]:
        """Return the images that the run asked to be made shared and of which it is not known whether they were."""
        ...

    def label(self, labels: Mapping[str, str], *, from_plan: bool = False) -> None:
        """Store names of images and projects by ID; the last name of an ID wins.

        A name `from_plan` does not replace what the cloud calls an image or a project. An empty name stands for
        none, and replaces no other.
        """
        ...

    def totals(self, run_id: int) -> dict[Result, int]:
        """Count the run's pairs by result; every result is a key."""
        ...


class Ledger(WorkList, Protocol):
    """The work list and the record. Blocking; called from one thread at a time. Every method that writes commits.

    Every method raises `LedgerError` if the store can't be read or written. Texts must not contain NUL; reasons are
    cut to 640 characters.
    """

    def begin(
        self,
        *,
        plan: str,
        fingerprint: str,
        account: Account,
        now: datetime,
        settings: Settings | None = None,
        key_suffix: str = "",
        invocation: str | None = None,
        origin: Origin | None = None,
    ) -> Run:
        """Create a run in state RUNNING, of this process and host.

        Its key is built from the plan, the time and, for one of several clouds, `key_suffix`. The runs of one command
        have the same `invocation`, at most 64 characters. `origin` says where it comes from.
        """
        ...

    def unfinished(self, *, plan: str, fingerprint: str, account: Account) -> Run | None:
        """Return the newest run of `plan` at this endpoint and for this project, if it has this fingerprint.

        None if it is FINISHED.
        """
        ...

    def mark_enqueued(self, run_id: int) -> None:
        """Record that all the plan's pairs and orders are in the ledger."""
        ...

    def reopen(
        self,
        run_id: int,
        *,
        now: datetime,
        settings: Settings | None = None,
        invocation: str | None = None,
        origin: Origin | None = None,
    ) -> Run:
        """Set an unfinished run to RUNNING again, of this process and host.

        It gets other settings, becomes part of another invocation, and has this invocation's origin beside that of its
        first, if these are given. What was rejected, skipped
        or failed is pending again, because its cause may be gone, and ALREADY_MEMBER is taken from all that is pending.
        """
        ...

    def finish(
        self,
        run_id: int,
        *,
        now: datetime,
        requests: int,
        retries: int,
        seconds: float,
        complete: bool = True,
        exit_code: int | None = None,
        ended_because: str = "",
    ) -> Run:
        """Record the end of this invocation and add to the sums.

        FINISHED if no pair is pending and all images were looked at (`complete`), else INTERRUPTED. `exit_code` and
        `ended_because` are of what ended it early.
        """
        ...

    def project_ids(self, run_id: int) -> set[str]:
        """Return the members of the run's pending pairs, except removals."""
        ...

    def settle_members(
        self, run_id: int, member_ids: Collection[str], *, result: Result, reason: str, now: datetime
    ) -> None:
        """Settle all pending pairs of these members, except removals, with the same result."""
        ...

    def set_orders(self, run_id: int, orders: Mapping[str, Orders]) -> None:
        """Store orders of the run's images by ID, in the place of those that they had. Other images keep theirs."""
        ...

    def orders(self, run_id: int) -> dict[str, Orders]:
        """Return the orders of the run's images, by ID, as far as they were stored."""
        ...

    def runs(self, *, limit: int | None = None) -> list[Run]:
        """Return the runs with their totals, newest first."""
        ...

    def last_enqueued(self, *, plan: str, account: Account) -> Run | None:
        """Return the newest run of `plan` at this endpoint and for this project whose pairs were all enqueued."""
        ...

    def run_before(self, run: Run) -> Run | None:
        """Return the fully enqueued run before this one of the same plan, endpoint and project."""
        ...

    def record_telemetry(self, run_id: int, telemetry: Telemetry) -> None:
        """Store the telemetry of one invocation."""
        ...

    def telemetry(self, run_id: int) -> list[Telemetry]:
        """Return the telemetry of the run's invocations, in order."""
        ...

    def labels(self, run_id: int) -> dict[str, str]:
        """Return the known names of the run's images and projects, by ID."""
        ...

    def unnamed_images(self, run_id: int) -> list[str]:
        """Return the run's images for which only names from a plan were stored, or none."""
        ...

    def prune(self, run_ids: Sequence[int], *, names_unless_after: int | None) -> bool:
        """Delete runs and their pairs; return whether the file shrank as well.

        Other processes cache the numbers of texts. So unused texts are deleted, and the file shrinks, only if no run is
        newer than `names_unless_after`, the newest run that the caller knows to be idle. None: never.
        """
        ...

    def find_run(self, key: str | None = None) -> Run | None:
        """Return the run with that key (or a unique prefix of it), or the newest run; None if there is none."""
        ...

    def opened(self, run_id: int) -> dict[str, datetime]:
        """Return when the run made images shared, by ID."""
        ...

    def outcomes(self, run_id: int, *, results: frozenset[Result] | None = None) -> Iterator[Outcome]:
        """Stream the run's pairs in a stable order: all, or only those with one of `results`."""
        ...


class Observer(Protocol):
    """Follows a run."""

    def notify(self, event: Event) -> None:
        """Take note of an event. Called on the event loop, for every request: must not block, and must not raise."""
        ...
