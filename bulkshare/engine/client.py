"""One question to the cloud and what its answer means; counted and told to the observer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from bulkshare.engine.retry import Send, Settle, decide, is_repeat, spare
from bulkshare.image_api.glance import find_request, interpret, request_for
from bulkshare.model import RETRYABLE, Result, RetryState, Step, VerdictKind, Want
from bulkshare.model.events import Answered, ImageSetShared, MembersListed, RetryScheduled

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from bulkshare.engine.retry import Decision
    from bulkshare.model import Attempt, Request, RetryPolicy, Verdict
    from bulkshare.ports import Observer, Transport


class ApiClient:
    """Sends the request of a step through the transport and interprets the reply."""

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
    ) -> None:
        self._transport = transport
        self._observer = observer
        self._policy = policy
        self._clock = clock
        self._wall = wall
        self._jitter = jitter
        self._answered_at = answered_at
        self._stop = stop
        self.stopping = stopping
        self.retries = 0

    async def advance(self, case: Attempt, *, since: float) -> Decision:
        """Send what the case asks for, once, and decide what follows.

        A pair does not fail where the endpoint has answered nobody since `since`, when this pair was last tried: its
        attempts say nothing about it then.
        """
        step, (image_id, member_id, want) = case.step, case.job
        as_member = step is Step.ACCEPT and Want.AS_PROJECT in want
        verdict = await self._call(
            step, image_id, member_id, request_for(step, image_id, member_id, as_member=as_member)
        )
        decision = decide(self._policy, case, verdict, self._jitter())
        if isinstance(decision, Settle) and decision.result is Result.FAILED and self._answered_at() < since:
            decision = spare(self._policy, decision, self._jitter())
        if isinstance(decision, Send) and is_repeat(decision.case):
            self._count_retry(image_id, member_id, verdict, decision.delay_seconds)
        return decision

    async def list_members(self, image_id: str) -> Verdict:
        """List an image's members."""
        verdict = await self._insist(Step.LIST, image_id, request_for(Step.LIST, image_id))
        if verdict.kind is not VerdictKind.NOT_SENT:
            self._observer.notify(MembersListed(image_id, verdict))
        return verdict

    async def open_image(self, image_id: str) -> Verdict:
        """Make an image `shared`."""
        verdict = await self._insist(Step.SET_SHARED, image_id, request_for(Step.SET_SHARED, image_id))
        if verdict.kind is not VerdictKind.NOT_SENT:
            self._observer.notify(ImageSetShared(image_id, verdict))
        return verdict

    async def find_images(self, path: str) -> Verdict:
        """Get a page of images."""
        return await self._insist(Step.FIND, "", find_request(path))

    async def _insist(self, step: Step, image_id: str, request: Request) -> Verdict:
        """Send a request that can be sent twice, trying again as the policy says; a stop ends the waiting.

        In an outage it goes on: attempts are used up only while the endpoint answers somebody.
        """
        state = RetryState(self._policy, self._jitter)
        while True:
            began = self._clock()
            verdict = await self._call(step, image_id, "", request)
            if verdict.kind not in RETRYABLE or self.stopping.is_set():
                return verdict
            delay_seconds = state.next_delay(verdict.retry_after, excused=self._answered_at() < began)
            if delay_seconds is None:
                return verdict
            self._count_retry(image_id, None, verdict, delay_seconds)
            with anyio.move_on_after(delay_seconds):
                await self.stopping.wait()
                return verdict

    async def _call(self, step: Step, image_id: str, member_id: str, request: Request) -> Verdict:
        began = self._clock()
        reply = await self._transport.send(request)
        verdict = interpret(step, image_id, member_id, reply, self._wall())
        if verdict.kind is not VerdictKind.NOT_SENT:
            self._observer.notify(Answered(step, image_id, member_id or None, verdict, self._clock() - began))
        elif not self.stopping.is_set():
            self._stop()  # the transport was stopped without the engine
        return verdict

    def _count_retry(self, image_id: str, member_id: str | None, verdict: Verdict, delay_seconds: float) -> None:
        if self.stopping.is_set():
            return  # a stop sends nothing again
        self.retries += 1
        self._observer.notify(RetryScheduled(image_id, member_id, verdict, delay_seconds))
