"""One request to the image API and what its answer means, counted and reported to the observer."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from bulkshare.engine.at_once import AtOnce
from bulkshare.engine.retry import Settle, decide, excuse, is_repeat
from bulkshare.errors import CredentialsRefusedError, DirectoryError, EndpointRefusedError
from bulkshare.image_api.glance import LISTS, find_request, images_path, interpret, is_foreign, request_for
from bulkshare.image_api.ims import (
    accept_request,
    batch_request,
    images_queries,
    interpret_own,
    job_request,
    own_images_path,
    quota_request,
    with_both_spellings,
)
from bulkshare.model import (
    ENDPOINT_FAILURES,
    RETRYABLE,
    Fault,
    Response,
    Result,
    RetryState,
    Scope,
    Step,
    VerdictKind,
    Want,
)
from bulkshare.model.events import (
    Answered,
    BatchesUnsupported,
    BatchSent,
    ImageSetShared,
    MembersListed,
    RetryScheduled,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from bulkshare.engine.retry import Decision
    from bulkshare.model import Attempt, Image, Reply, Request, RetryPolicy, Verdict
    from bulkshare.ports import Observer, Transport


MOST_FOREIGN = 10  # answers of something else than an image service, before the first one of it

# Bytes of a reply, some 130 members, that are interpreted in a thread: 64 such replies may come at once, and the event
# loop would take 0.1 s for them. A shorter one takes about as long as the change of threads.
LONG_BODY = 32_768
QUESTIONS = frozenset({Step.JOB, Step.QUOTA})  # whose refusal is about no one's right to share
OWN_STEPS = frozenset({Step.BATCH, Step.JOB, Step.QUOTA})  # of Huawei Cloud's image service
AS_MEMBER = frozenset({Step.ACCEPT, Step.RESET})  # may be made in the member's project
_FAILED, _NOT_SENT, _RUN = Result.FAILED, VerdictKind.NOT_SENT, Scope.RUN  # as in `retry`


class ApiClient:
    """Sends requests through the transport and interprets the replies.

    transport: sends one request; it paces and authenticates.
    observer: is notified of answers, retries, listings and images made shared.
    policy: when to retry.
    clock: monotonic, in seconds.
    wall: the current time, aware and UTC.
    jitter: uniform numbers in [0, 1).
    stopping: set once nothing more is to be sent.
    stop: called if the transport turns out to be stopped while `stopping` is not set.
    answered_at: when the endpoint last answered any request, on `clock`. A request that fails while no other is
        answered says nothing about its pair, and doesn't exhaust its attempts.
    at_once: how many requests its users may have under way; default: one.
    endpoint: its name in an error. Until an image service has answered there, a redirect or a few pages that are no
        answers of the API end the run with one: they would say nothing about images.
    """

    def __init__(
        self,
        *,
        transport: Transport,
        observer: Observer,
        policy: RetryPolicy,
        clock: Callable[[], float],
        wall: Callable[[], datetime],
        jitter: Callable[[], float],
        stopping: anyio.Event,
        stop: Callable[[], None],
        answered_at: Callable[[], float],
        at_once: AtOnce | None = None,
        endpoint: str = "the image endpoint",
    ) -> None:
        self._transport = transport
        self._observer = observer
        self._policy = policy
        self._clock = clock
        self._wall = wall
        self._jitter = jitter
        self._answered_at = answered_at
        self._stop = stop
        self._endpoint = endpoint
        self._recognized = False  # whether an image service has answered
        self._foreign = 0  # answers of something else before that
        self._older_jobs = False  # whether the older call for jobs is the one that works
        self._interpreting = anyio.CapacityLimiter(1)  # more threads would only contend for the interpreter
        self.at_once = at_once or AtOnce(1)
        self.stopping = stopping
        self.no_batches = False  # whether the service has said that it has none
        self.retries = 0  # requests scheduled to be sent again

    async def step(self, attempt: Attempt, *, since: float) -> Decision:
        """Send the attempt's request once and decide what follows.

        `since` is when this pair was last tried, on the clock: it doesn't fail if the endpoint has answered no one
        since then.
        """
        step, (image_id, member_id, want) = attempt.step, attempt.job
        as_member = step in AS_MEMBER and Want.AS_PROJECT in want
        request = request_for(step, image_id, member_id, as_member=as_member)
        verdict = await self._send(step, image_id, member_id, request)
        decision = decide(self._policy, attempt, verdict, self._jitter())
        if isinstance(decision, Settle):
            if decision.result is not _FAILED or self._answered_at() >= since:
                return decision
            decision = excuse(self._policy, decision, self._jitter())
        if is_repeat(decision.attempt):
            self._count_retry(image_id, member_id, verdict, decision.delay_seconds)
        return decision

    async def list_members(self, image_id: str) -> Verdict:
        """List all of an image's members. If a page of the list can't be had, the verdict is the one on that page."""
        verdict = page = await self._send_with_retry(Step.LIST, image_id, request_for(Step.LIST, image_id))
        asked: set[str] = set()
        while page.next_path is not None and page.next_path not in asked:
            asked.add(page.next_path)
            page = await self._send_with_retry(
                Step.LIST, image_id, request_for(Step.LIST, image_id, page=page.next_path)
            )
            verdict = page._replace(members=(*verdict.members, *page.members))
        if page.next_path is not None:
            verdict = page._replace(kind=VerdictKind.UNCLEAR, reason="the list of members never ends", members=())
        if verdict.kind is not VerdictKind.NOT_SENT:
            self._observer.notify(MembersListed(image_id, verdict))
        return verdict

    async def get_member(self, image_id: str, member_id: str) -> Verdict:
        """Ask for one member of an image: PRESENT or ABSENT if the cloud tells."""
        request = request_for(Step.GET_MEMBER, image_id, member_id)
        return await self._send_with_retry(Step.GET_MEMBER, image_id, request, member_id)

    async def set_shared(self, image_id: str) -> Verdict:
        """Set an image's visibility to `shared`."""
        verdict = await self._send_with_retry(Step.SET_SHARED, image_id, request_for(Step.SET_SHARED, image_id))
        if verdict.kind is not VerdictKind.NOT_SENT:
            self._observer.notify(ImageSetShared(image_id, verdict))
        return verdict

    async def find_page(self, path: str) -> Verdict:
        """Get a page of images."""
        return await self._send_with_retry(Step.FIND, "", find_request(path))

    async def find_images(self, query: Sequence[tuple[str, str]]) -> list[Image]:
        """Return all images that `GET /v2/images` finds for a query.

        Raises `DirectoryError` rather than return a part: images may be pruned because they are not in the list.
        """
        images: list[Image] = []
        path: str | None = images_path(query)
        asked: set[str] = set()
        while path is not None:
            if path in asked:
                raise DirectoryError(
                    "the image service's list of images leads back to itself, so it can't be read whole"
                )
            asked.add(path)
            verdict = await self.find_page(path)
            if verdict.kind is not VerdictKind.FOUND:
                raise DirectoryError(f"the image service does not list its images: {verdict.reason}")
            images += verdict.images
            path = verdict.next_path
        return images

    async def find_own_images(self, query: Sequence[tuple[str, str]]) -> list[Image]:
        """Return what `find_images` does, from the own list of Huawei Cloud's image service. Raises like it."""
        images: dict[str, Image] = {}
        for part in images_queries(query):
            limit, marker = int(dict(part).get("limit", "0")), ""
            while True:
                verdict = await self.find_page(own_images_path([*part, *([("marker", marker)] if marker else [])]))
                if verdict.kind is not VerdictKind.FOUND:
                    raise DirectoryError(f"the image service does not list its images: {verdict.reason}")
                before = len(images)
                images.update((image.id, with_both_spellings(image)) for image in verdict.images)
                if verdict.next_path is None and not 0 < limit <= len(verdict.images):
                    break
                if len(images) == before:
                    raise DirectoryError("the image service's list of images never ends, so it can't be read whole")
                marker = verdict.images[-1].id  # as documented, whether or not the answer names a marker
        return list(images.values())

    async def send_batch(
        self, step: Step, image_ids: Sequence[str], member_ids: Sequence[str], *, as_member: bool = False
    ) -> Verdict:
        """Send a batch until it has an answer, or one after which the service may be working on it.

        An accepting batch is for one member; `as_member`: in its project rather than in our own.
        """
        request = (
            accept_request(image_ids, member_ids[0], as_member=as_member)
            if step is Step.ACCEPT
            else batch_request(step, image_ids, member_ids)
        )
        verdict = await self._send_with_retry(Step.BATCH, image_ids[0] if len(image_ids) == 1 else "", request)
        if verdict.kind is VerdictKind.STARTED or verdict.maybe_done:
            self._observer.notify(BatchSent(len(image_ids) * len(member_ids)))
        elif verdict.kind is VerdictKind.UNSUPPORTED and not self.no_batches:
            self.no_batches = True
            self._observer.notify(BatchesUnsupported(verdict.reason))
        return verdict

    async def has_ended(self, job_id: str, own_project_id: str) -> bool:
        """Ask whether a job has ended, with the older call if there is no other; False if the answer doesn't tell."""
        for project_id in (own_project_id,) if self._older_jobs else (None, own_project_id):
            verdict = await self._send(Step.JOB, "", None, job_request(job_id, project_id))
            if verdict.kind in {VerdictKind.ENDED, VerdictKind.RUNNING}:
                self._older_jobs = project_id is not None
                return verdict.kind is VerdictKind.ENDED
            if verdict.http_status != HTTPStatus.NOT_FOUND:
                break
        return False

    async def member_quota(self) -> int | None:
        """Ask the image service how many members an image may have; None if it doesn't tell."""
        return (await self._send(Step.QUOTA, "", None, quota_request())).quota

    async def stopped_within(self, seconds: float) -> bool:
        """Wait; return whether a stop came first."""
        with anyio.move_on_after(seconds):
            await self.stopping.wait()
        return self.stopping.is_set()

    async def _send_with_retry(
        self, step: Step, image_id: str, request: Request, member_id: str | None = None
    ) -> Verdict:
        """Send a request until it is answered, the attempts are used up, or a stop ends the waiting.

        It is idempotent, or a batch, which is not sent again if the service may be working on it.
        """
        retry = RetryState(self._policy, self._jitter)
        while True:
            began = self._clock()
            verdict = await self._send(step, image_id, member_id, request)
            begun = step is Step.BATCH and verdict.maybe_done
            if begun or verdict.kind not in RETRYABLE or self.stopping.is_set():
                return verdict
            delay_seconds = retry.next_delay(verdict.retry_after, excused=self._answered_at() < began)
            if delay_seconds is None:
                return verdict
            self._count_retry(image_id, member_id, verdict, delay_seconds)
            if await self.stopped_within(delay_seconds):
                return verdict

    async def _send(self, step: Step, image_id: str, member_id: str | None, request: Request) -> Verdict:
        began = self._clock()
        reply = await self._transport.send(request)
        now = self._wall()
        if step in OWN_STEPS:
            verdict = interpret_own(step, reply, now)
        elif step in LISTS and isinstance(reply, Response) and len(reply.body) >= LONG_BODY:
            verdict = await anyio.to_thread.run_sync(
                interpret, step, image_id, member_id or "", reply, now, limiter=self._interpreting
            )
        else:  # without an await: no cancellation loses what became of a pair
            verdict = interpret(step, image_id, member_id or "", reply, now)
        if not self._recognized and step not in OWN_STEPS:
            self._recognize(image_id, reply, verdict)
        if verdict.kind is not _NOT_SENT:
            self._observer.notify(Answered(step, image_id, member_id, verdict, self._clock() - began))
        elif not self.stopping.is_set():
            self._stop()
        if verdict.scope is _RUN and step not in QUESTIONS:
            raise CredentialsRefusedError(f"{self._endpoint} refuses every request like this one: {verdict.reason}")
        return verdict

    def _recognize(self, image_id: str, reply: Reply, verdict: Verdict) -> None:
        """Learn from the first answers whether there is an image service. Raises `EndpointRefusedError` if not."""
        if isinstance(reply, Fault) or verdict.kind in ENDPOINT_FAILURES:
            return
        if verdict.members or verdict.images or not is_foreign(image_id, reply):  # the last one parses a body again
            self._recognized = True
            return
        self._foreign += 1
        if self._foreign >= MOST_FOREIGN or 300 <= reply.status < 400:
            raise EndpointRefusedError(
                f"{self._endpoint} does not answer as an image service does ({verdict.reason}); correct the endpoint "
                "in the catalog, or set image_endpoint_override in clouds.yaml"
            )

    def _count_retry(self, image_id: str, member_id: str | None, verdict: Verdict, delay_seconds: float) -> None:
        if self.stopping.is_set():
            return  # a stop sends nothing again
        self.retries += 1
        self._observer.notify(RetryScheduled(image_id, member_id, verdict, delay_seconds))
