"""A cloud as the image service sees it: log-in, connections to its image endpoint, and questions before a run."""

from __future__ import annotations

import math
import random
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from bulkshare.cloud import Identified, KeyIdentity, Signed, identity_from, read_entry
from bulkshare.cloud.http import HttpTransport
from bulkshare.cloud.prompts import showing_prompts, unattended_advice, why_person
from bulkshare.engine.client import ApiClient
from bulkshare.errors import UsageError
from bulkshare.model import (
    MOST_CONCURRENCY,
    Settings,
)
from bulkshare.operations.defaults import utc_now
from bulkshare.pacing import Breaker, Paced
from bulkshare.progress import Observers
from bulkshare.text import clean

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from bulkshare.cloud import CloudEntry, CloudIdentity
    from bulkshare.model import (
        Image,
        Limits,
        RetryPolicy,
    )
    from bulkshare.operations.listener import Listener
    from bulkshare.ports import Observer, Transport

    AnyIdentity = CloudIdentity | KeyIdentity


@dataclass(frozen=True, slots=True)
class ImageEndpoint:
    """Connections to a cloud's image endpoint.

    transport: sends requests with a token.
    paced: the layer of it that paces and counts them.
    """

    transport: Transport
    paced: Paced

    @property
    def stopping(self) -> anyio.Event:
        """The event that lets nothing more through once it is set."""
        return self.paced.stopping

    def new_stop(self) -> anyio.Event:
        """Return a new `stopping`, for an engine that is about to run: engines take turns on an endpoint."""
        self.paced.stopping = anyio.Event()
        return self.paced.stopping


@asynccontextmanager
async def open_identity(
    settings: Settings,
    *,
    credentials: CloudEntry | None = None,
    listener: Listener | None = None,
    give_up_after_seconds: float,
) -> AsyncIterator[AnyIdentity]:
    """Log in to a run's cloud; with `credentials` if they are given.

    A log-in that needs a person is shown to `listener`, and refused if no one would see it. An identity service that is
    down is waited for, which `listener` hears.

    Raises `UsageError`, `CredentialsRefusedError`, `EndpointRefusedError`, or `OutageError` after the time given.
    """
    note = (lambda _: None) if listener is None else listener.note
    async with AsyncExitStack() as stack:
        if credentials is None:
            credentials = await anyio.to_thread.run_sync(read_entry, settings.cloud, settings.region)
        identity = identity_from(credentials, give_up_after_seconds=give_up_after_seconds, note=note)
        if why := why_person(identity.entry):
            if listener is None or not listener.is_watched:
                raise UsageError(
                    f"cloud {clean(identity.entry.name)}: {why}, but there is no terminal, or -q is given; "
                    f"{unattended_advice(identity.entry)}"
                )
            stack.enter_context(showing_prompts(listener.note))
        await identity.token()
        yield identity


@asynccontextmanager
async def open_endpoint(
    identity: AnyIdentity, limits: Limits, *, give_up_after_seconds: float
) -> AsyncIterator[ImageEndpoint]:
    """Open connections to the image endpoint; requests raise `StoppedEarlyError` once it has been down for so long."""
    breaker = Breaker(give_up_after_seconds=give_up_after_seconds)
    async with HttpTransport(identity.connection, connections=MOST_CONCURRENCY) as http:
        pace = partial(
            Paced, limits=limits, breaker=breaker, stopping=anyio.Event(), clock=time.monotonic, wall=utc_now
        )
        if isinstance(identity, KeyIdentity):
            # Signed last, since a signature is valid for minutes, and a request may be held back for longer.
            paced = pace(Signed(http, identity, wall=utc_now))
            yield ImageEndpoint(paced, paced)
        else:
            paced = pace(http)
            identity.stopping = lambda: paced.stopping
            yield ImageEndpoint(Identified(paced, identity), paced)


async def find_images(
    transport: Transport,
    query: Sequence[tuple[str, str]],
    policy: RetryPolicy,
    *,
    observer: Observer | None = None,
    answered_at: Callable[[], float] = lambda: math.inf,
    own_list: bool = False,
) -> list[Image]:
    """Return all images that `GET /v2/images` finds for a query. Raises `DirectoryError`.

    own_list: ask for the own list of Huawei Cloud's image service instead.
    answered_at: when the endpoint last answered; while it answers nothing, a request does not exhaust its attempts.
    """
    client = api_client(transport, policy, observer=observer, answered_at=answered_at)
    return await (client.find_own_images(query) if own_list else client.find_images(query))


def api_client(
    transport: Transport,
    policy: RetryPolicy,
    *,
    observer: Observer | None = None,
    answered_at: Callable[[], float],
) -> ApiClient:
    """Return a client for questions before there is a run; the arguments are as for `find_images`."""
    stopping = anyio.Event()
    return ApiClient(
        transport=transport,
        observer=observer or Observers(),
        policy=policy,
        clock=time.monotonic,
        wall=utc_now,
        jitter=random.random,
        stopping=stopping,
        stop=stopping.set,
        answered_at=answered_at,
    )
