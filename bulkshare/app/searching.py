"""Asks the image service which images there are: page by page, and again where it had trouble answering."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import anyio

from bulkshare.app.places import utc_now
from bulkshare.errors import DirectoryError
from bulkshare.glance import find_request, images_path, interpret
from bulkshare.model import Kind, RetryPolicy, Step
from bulkshare.retry import backoff_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bulkshare.model import Image, Verdict
    from bulkshare.ports import Transport

PASSING = frozenset({Kind.TRANSIENT, Kind.THROTTLED, Kind.LOST, Kind.UNCLEAR})


async def find_images(transport: Transport, query: Sequence[tuple[str, str]], policy: RetryPolicy) -> list[Image]:
    """Return the images that `GET /v2/images` finds for a query. Raises `DirectoryError` where it does not answer.

    The list is whole: images may be pruned by what it lacks.
    """
    images: list[Image] = []
    path: str | None = images_path(query)
    asked: set[str] = set()
    while path is not None:
        if path in asked:
            raise DirectoryError("the image service's list of images leads back to itself, so that nobody sees all")
        asked.add(path)
        verdict = await _page(transport, path, policy)
        if verdict.kind is not Kind.FOUND:
            raise DirectoryError(f"the image service does not tell which images there are: {verdict.reason}")
        images += verdict.images
        path = verdict.next_path
    return images


async def _page(transport: Transport, path: str, policy: RetryPolicy) -> Verdict:
    attempt = 1
    while True:
        reply = await transport.send(find_request(path))
        verdict = interpret(Step.FIND, "", "", reply, utc_now())
        if verdict.kind not in PASSING or attempt >= policy.attempts:
            return verdict
        await anyio.sleep(backoff_seconds(policy, attempt, verdict, random.random()))  # noqa: S311  no secret
        attempt += 1
