"""Sends pending pairs in batches, each of which the cloud works through in a job. What is left goes out pair by pair.

Theory. Neither the answer to a batch nor the end of its job says what became of a pair; only the list of an image's
members does. So a batch is a request in three parts: it is sent, its job is waited for, the members of its images are
listed. What the list shows as done is settled. What it doesn't show is looked for once more some seconds later, and
then left pending: the pool that sends pair by pair comes last, and each pair gets a request, and a reason, of its own.

The ledger knows of a batch before it leaves, and of its job as soon as that has an ID; it forgets the batch when the
pairs are decided. A batch that is still in the ledger when a run goes on was cut off: its job is waited for and its
images are listed (`recover`) before anything is sent. So no pair is ever in two requests at once, and what a batch has
added is never mistaken for what was there before.

A refused batch has done nothing, and its code says whom it is about:

- the image: its pairs are settled, as the pool would settle them; a batch of several images is sent image by image.
- a project, though not which: the batch is halved until the project stands alone.
- the quota, or anything else: left to the pool, which finds out pair by pair.

A batch whose answer was lost is looked for longer. If it has done nothing by then, it never arrived: it is sent once
more.

Acceptance is a batch of many images for one member, sent on its behalf. It may be repeated without harm, so its images
are listed only after all of these batches, and whatever is not accepted then is left to the pool.

Batches of one image follow one another, so that its quota is used up in order. Images whose missing members are the
same few share a batch.
"""

from __future__ import annotations

from collections import deque
from contextlib import aclosing
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

import anyio

from bulkshare.engine.at_once import AtOnce
from bulkshare.engine.phases import for_each
from bulkshare.engine.retry import is_to_answer
from bulkshare.engine.writer import SettleImage
from bulkshare.model import Batch, Outcome, Result, Scope, Step, VerdictKind, Want
from bulkshare.model.events import PhaseStarted

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Container, Mapping, Sequence
    from datetime import datetime

    from bulkshare.engine.client import ApiClient
    from bulkshare.engine.engine import Senders
    from bulkshare.engine.writer import Recorder
    from bulkshare.model import Job, Limits, Member, Verdict

FIRST_POLL_SECONDS = 1.0  # jobs of members take 0.6 to 2.4 s in the documentation's examples
POLL_GROWTH = 0.5  # of the time since a job was started, until it is asked for again
SHORTENED = 0.02  # of the usual time, while as many jobs as may run at once succeed: faster ones are noticed
LONGEST_POLL_SECONDS = 10.0
LONGEST_JOB_SECONDS = 600.0  # then the list of members decides
SECOND_LOOK_SECONDS = 3.0  # how long a list of members may lag behind a job
LOST_JOB_SECONDS = 30.0  # how long a job may take of which we don't know the ID
FEWEST_ACCEPTED = 5  # images of a member: a batch takes a request, some polls and a share of the lists
NUMBERS_APART = 2  # of batches that remove, which are even, and of all others
MOST_HELD = 50_000  # pairs of small images in memory, waiting for others with the same members


class Chain(NamedTuple):
    """Images to be given the same members; without members, one image whose pairs are still to be read."""

    image_ids: tuple[str, ...]
    member_ids: tuple[str, ...] = ()


class Conclusion(NamedTuple):
    """What became of a batch: whether all of its images could be listed, and whether these show none of its pairs."""

    known: bool
    nothing_done: bool


class BatchSender:
    """Sends pending pairs, to be shared or removed, in batches; a `Sender`.

    client, recorder: shared with the engine's other phases.
    on_failure: called for every rejected or failed pair.
    removals: send the pairs to be removed; otherwise all others.
    make_pool: makes what sends, pair by pair, what the batches have left.
    limits: `batch` pairs in a request, `jobs` at once.
    clock: monotonic, in seconds.
    wall: the current time, aware and UTC.
    project_id: our own, which the older call for jobs names.
    """

    def __init__(
        self,
        client: ApiClient,
        recorder: Recorder,
        on_failure: Callable[[], None],
        *,
        removals: bool,
        make_pool: Senders,
        limits: Limits,
        clock: Callable[[], float],
        wall: Callable[[], datetime],
        project_id: str,
    ) -> None:
        self._client = client
        self._recorder = recorder
        self._on_failure = on_failure
        self._step = Step.REMOVE if removals else Step.ADD
        self._removals = removals
        self._pool = make_pool(client, recorder, on_failure, removals=removals)
        self._most = limits.batch
        self._jobs = AtOnce(limits.jobs)
        self._clock = clock
        self._wall = wall
        self._project_id = project_id
        self._numbers = count(1 + removals, NUMBERS_APART)
        self._usual_seconds = FIRST_POLL_SECONDS  # after which a job is first asked for

    async def recover(self) -> None:
        """Find out what became of the batches that an earlier process left."""
        left = [batch for batch in await self._recorder.open_batches() if (batch.step is Step.REMOVE) == self._removals]
        if left:
            self._numbers = count(left[-1].number + NUMBERS_APART, NUMBERS_APART)
        accepting = [batch for batch in left if batch.step is Step.ACCEPT]

        async def conclude(batch: Batch) -> None:
            if batch.step is not Step.ACCEPT:
                await self._conclude(batch, self._wall())
            elif batch.job_id:
                await self._wait_for(batch.job_id)

        await for_each(left, conclude, at_once=self._jobs, stopping=self._client.stopping)
        await self._settle_accepted(accepting, self._wall())

    async def settle_pending(self, probed: Container[str]) -> None:
        """Work through the ledger's pending pairs. Images in `probed` are known to take members."""
        pairs = sum([backlog.pairs async for backlog in self._recorder.pending_images(removals=self._removals)])
        if pairs and not self._client.no_batches:
            self._recorder.observer.notify(PhaseStarted("removing" if self._removals else "sharing", pairs))
            async with aclosing(self._chains()) as chains:
                await self._send_chains(chains)
            await self._recorder.flush()
            if not self._removals:
                await self._accept()
        if not self._client.stopping.is_set():
            await self._pool.settle_pending(probed)

    def wake_all(self) -> None:
        """Let the pool look again whether there is something to do: a stop may have come."""
        self._pool.wake_all()

    async def _chains(self) -> AsyncGenerator[Chain]:
        """Yield the images with pending pairs: large ones alone, small ones with those that miss the same members."""
        most = self._most
        groups: dict[tuple[str, ...], list[str]] = {}
        held = 0
        async for backlog in self._recorder.pending_images(removals=self._removals):
            if 2 * backlog.pairs > most:
                yield Chain((backlog.image_id,))
                continue
            # One page has them all: it is longer than half of the largest batch that a plan may ask for.
            jobs = await self._recorder.pending_jobs(backlog.image_id, None, removals=self._removals)
            member_ids = tuple(job.member_id for job in jobs if _is_missing(job))
            if not member_ids:
                continue
            group = groups.setdefault(member_ids, [])
            group.append(backlog.image_id)
            held += len(member_ids)
            if (len(group) + 1) * len(member_ids) > most:
                held -= len(group) * len(member_ids)
                yield Chain(tuple(groups.pop(member_ids)), member_ids)
            elif held > MOST_HELD:
                for together, image_ids in groups.items():
                    yield Chain(tuple(image_ids), together)
                groups, held = {}, 0
        for member_ids, image_ids in groups.items():
            yield Chain(tuple(image_ids), member_ids)

    async def _send_chains(self, chains: AsyncIterator[Chain]) -> None:
        turn = anyio.Lock()

        async def work() -> None:
            while not (self._client.stopping.is_set() or self._client.no_batches):
                async with turn:
                    chain = await anext(chains, None)
                if chain is None:
                    return
                await self._send_chain(chain)

        await self._jobs.run(work)

    async def _send_chain(self, chain: Chain) -> None:
        if chain.member_ids:
            await self._send(chain.image_ids, chain.member_ids)
            return
        (image_id,) = chain.image_ids
        waiting: deque[str] = deque()
        async for page in self._recorder.pending_pages(image_id, removals=self._removals):
            waiting.extend(job.member_id for job in page if _is_missing(job))
            while len(waiting) >= self._most:
                if not await self._send((image_id,), [waiting.popleft() for _ in range(self._most)]):
                    return
        if waiting:
            await self._send((image_id,), tuple(waiting))

    async def _send(self, image_ids: Sequence[str], member_ids: Sequence[str], *, again: bool = True) -> bool:
        """Send one batch and settle what it did. Return whether the image may get more of them.

        again: if its answer is lost and it turns out to have done nothing, send it once more.
        """
        if self._client.stopping.is_set() or self._client.no_batches:
            return False
        began = self._wall()
        batch, verdict = await self._start(self._step, image_ids, member_ids)
        if batch is None:
            return await self._split(image_ids, member_ids, verdict)
        concluded = await self._conclude(batch, began)
        if concluded.nothing_done and not batch.job_id and again:
            return await self._send(image_ids, member_ids, again=False)
        return concluded.known

    async def _start(
        self, step: Step, image_ids: Sequence[str], member_ids: Sequence[str]
    ) -> tuple[Batch | None, Verdict]:
        """Send one batch. Return it if it has a job, or may have one; and what the answer means."""
        batch = Batch(next(self._numbers), step, tuple(image_ids), tuple(member_ids))
        await self._recorder.open_batch(batch)
        as_member = step is Step.ACCEPT and member_ids[0] != self._project_id
        verdict = await self._client.send_batch(step, image_ids, member_ids, as_member=as_member)
        if verdict.kind is VerdictKind.STARTED:
            await self._recorder.set_job(batch.number, verdict.job_id)
            return batch._replace(job_id=verdict.job_id), verdict
        if verdict.maybe_done:
            return batch, verdict
        await self._recorder.close_batch(batch.number)
        return None, verdict

    async def _split(self, image_ids: Sequence[str], member_ids: Sequence[str], verdict: Verdict) -> bool:
        """Settle or divide a batch that was refused. Return whether the image may get more of them."""
        if verdict.kind is not VerdictKind.REJECTED:
            return False
        if len(image_ids) > 1:
            for image_id in image_ids:
                await self._send((image_id,), member_ids)
            return True
        if verdict.scope is Scope.IMAGE:
            self._on_failure()
            self._recorder.put(SettleImage(image_ids[0], verdict.reason, Result.REJECTED, removals=self._removals))
            return False
        if len(member_ids) > 1:
            half = len(member_ids) // 2
            return await self._send(image_ids, member_ids[:half]) and await self._send(image_ids, member_ids[half:])
        self._on_failure()
        async for job in self._pending(image_ids[0], member_ids):
            self._recorder.put(self._outcome(job, Result.REJECTED, verdict, self._wall()))
        return True

    async def _wait_for(self, job_id: str) -> None:
        """Wait until a job has ended. One of which nothing is known is waited for as long as any may take.

        It is first asked for after the time that others took, which spares polls, and each success shortens a little.
        """
        began, asked_after, delay_seconds = self._clock(), 0.0, self._usual_seconds
        shorter = 1.0 - SHORTENED / self._jobs.limit
        while asked_after < LONGEST_JOB_SECONDS:
            if await self._client.stopped_within(delay_seconds):
                return
            running_at, asked_after = asked_after, self._clock() - began
            if await self._client.has_ended(job_id, self._project_id):
                learned = (running_at + asked_after) / 2 if running_at else self._usual_seconds * shorter
                self._usual_seconds = min(max(learned, FIRST_POLL_SECONDS), LONGEST_POLL_SECONDS)
                return
            delay_seconds = min(max(asked_after * POLL_GROWTH, FIRST_POLL_SECONDS), LONGEST_POLL_SECONDS)

    async def _conclude(self, batch: Batch, began: datetime) -> Conclusion:
        """Wait for a batch's job, list the members of its images and settle what is as wanted.

        Pairs whose images can't be listed fail, and the batch stays in the ledger: its job may still run. So it does
        after a stop.
        """
        if batch.job_id:
            await self._wait_for(batch.job_id)
        missing = {image_id: set(batch.member_ids) for image_id in batch.image_ids}
        unlisted = await self._look_for(missing, began, SECOND_LOOK_SECONDS if batch.job_id else LOST_JOB_SECONDS)
        if self._client.stopping.is_set() and any(missing.values()):
            return Conclusion(known=False, nothing_done=False)
        done = "removed" if self._removals else "added"
        for image_id, verdict in unlisted.items():
            unknown = verdict._replace(reason=f"not known whether it was {done}: listing the members: {verdict.reason}")
            async for job in self._pending(image_id, missing[image_id]):
                self._on_failure()
                self._recorder.put(self._outcome(job, Result.FAILED, unknown, self._wall()))
        if not unlisted:
            await self._recorder.close_batch(batch.number)
        nothing_done = all(len(members) == len(batch.member_ids) for members in missing.values())
        return Conclusion(known=not unlisted, nothing_done=nothing_done and not unlisted)

    async def _look_for(
        self, missing: Mapping[str, set[str]], began: datetime, seconds: float, *, accepted: bool = False
    ) -> dict[str, Verdict]:
        """List images and settle those of their `missing` members that are as wanted, which leave the sets.

        Look again until `seconds` have passed. Return the verdicts of the lists that could not be had.
        """
        unlisted: dict[str, Verdict] = {}
        until = self._clock() + seconds

        async def look(image_id: str) -> None:
            listing = await self._client.list_members(image_id)
            if listing.kind is not VerdictKind.LISTED:
                unlisted[image_id] = listing
            elif accepted:
                missing[image_id].difference_update(await self._settle_listed_accepted(image_id, listing, began))
            else:
                missing[image_id].difference_update(await self._settle(image_id, missing[image_id], listing, began))

        while True:
            todo = [image_id for image_id, members in missing.items() if members and image_id not in unlisted]
            await for_each(todo, look, at_once=self._client.at_once, stopping=self._client.stopping)
            if self._client.stopping.is_set() or self._clock() >= until:
                return unlisted
            if not any(members for image_id, members in missing.items() if image_id not in unlisted):
                return unlisted
            await self._client.stopped_within(SECOND_LOOK_SECONDS)

    async def _settle(self, image_id: str, member_ids: set[str], listing: Verdict, began: datetime) -> set[str]:
        """Settle the pairs that a list shows to be as wanted, and return their members."""
        members = {member.member_id: member for member in listing.members}
        done = member_ids - members.keys() if self._removals else member_ids & members.keys()
        result = Result.REMOVED if self._removals else Result.SHARED
        to_accept = []
        async for job in self._pending(image_id, done):
            member = members.get(job.member_id)
            if member is not None and is_to_answer(job.want, member):
                to_accept.append(job.member_id)
            else:
                self._recorder.put(self._outcome(job, result, listing, began, member))
        if to_accept:
            await self._recorder.mark_added(image_id, to_accept)
        return done

    async def _accept(self) -> None:
        """Accept, in batches, what only remains to be accepted on behalf of its members."""
        images: dict[str, list[str]] = {}  # by member
        held = 0
        async for backlog in self._recorder.pending_images(removals=False):
            async for page in self._recorder.pending_pages(backlog.image_id, removals=False):
                for job in page:
                    if _is_accepted_in_batches(job):
                        images.setdefault(job.member_id, []).append(job.image_id)
                        held += 1
            if held > MOST_HELD:
                await self._accept_all(images)
                images, held = {}, 0
        await self._accept_all(images)

    async def _accept_all(self, images: Mapping[str, Sequence[str]]) -> None:
        """Accept images, by member. A few of them for one member are left to the pool, which needs fewer requests."""
        most, began = self._most, self._wall()
        todo = [
            (member_id, image_ids[start : start + most])
            for member_id, image_ids in images.items()
            if len(image_ids) >= FEWEST_ACCEPTED
            for start in range(0, len(image_ids), most)
        ]
        sent: list[Batch] = []

        async def send(item: tuple[str, Sequence[str]]) -> None:
            member_id, image_ids = item
            if self._client.no_batches:
                return
            batch, _ = await self._start(Step.ACCEPT, image_ids, (member_id,))
            if batch is not None:
                sent.append(batch)
                if batch.job_id:
                    await self._wait_for(batch.job_id)

        await for_each(todo, send, at_once=self._jobs, stopping=self._client.stopping)
        await self._settle_accepted(sent, began)

    async def _settle_accepted(self, batches: Sequence[Batch], began: datetime) -> None:
        """List the images of accepting batches, and settle what is accepted. The rest is left to the pool."""
        missing: dict[str, set[str]] = {}
        for batch in batches:
            for image_id in batch.image_ids:
                missing.setdefault(image_id, set()).update(batch.member_ids)
        seconds = 0.0 if all(batch.job_id for batch in batches) else LOST_JOB_SECONDS
        await self._look_for(missing, began, seconds, accepted=True)
        for batch in batches:
            if not self._client.stopping.is_set():
                await self._recorder.close_batch(batch.number)

    async def _settle_listed_accepted(self, image_id: str, listing: Verdict, began: datetime) -> set[str]:
        """Settle the pairs that a list shows to be accepted, and return their members."""
        accepted = {member.member_id: member for member in listing.members if member.status == "accepted"}
        async for job in self._pending(image_id, accepted):
            if Want.ACCEPTED in job.want:
                result = Result.SHARED if Want.ADDED in job.want else Result.ACCEPTED
                self._recorder.put(self._outcome(job, result, listing, began, accepted[job.member_id]))
        return set(accepted)

    async def _pending(self, image_id: str, member_ids: Container[str]) -> AsyncGenerator[Job]:
        """Yield an image's pairs with these members that are pending: a process before may have settled the others."""
        async for page in self._recorder.pending_pages(image_id, removals=self._removals):
            for job in page:
                if job.member_id in member_ids:
                    yield job

    def _outcome(
        self, job: Job, result: Result, verdict: Verdict, began: datetime, member: Member | None = None
    ) -> Outcome:
        return Outcome(
            image_id=job.image_id,
            member_id=job.member_id,
            result=result,
            http_status=verdict.http_status,
            status=member.status if member else None,
            created_at=member.created_at if member else None,
            updated_at=member.updated_at if member else None,
            schema=member.schema if member else None,
            attempts=1,
            request_id=verdict.request_id,
            reason=verdict.reason,
            started_at=began,
            settled_at=self._wall(),
            want=job.want,
        )


def _is_missing(job: Job) -> bool:
    """Whether a pair's member is still to be added or removed, rather than only to be accepted."""
    return not job.want & (Want.ALREADY_MEMBER | Want.RECEIVED | Want.RESET)


def _is_accepted_in_batches(job: Job) -> bool:
    """Whether a membership only remains to be accepted by its own project: through us, or because that is ours."""
    if Want.RESET in job.want:
        return False
    if Want.RECEIVED in job.want:
        return Want.DECLINED not in job.want
    return not _is_missing(job) and Want.AS_PROJECT in job.want
