"""The clouds that the contract holds for, and a client."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from uuid import uuid4

import aiohttp
import pytest

from tests.contract.client import Client
from tests.sandbox_cloud import SandboxCloud

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.cloud import CloudUnderTest


@pytest.fixture(scope="session")
def sandbox_cloud() -> Iterator[SandboxCloud]:
    """Run a sandbox for the session."""
    with SandboxCloud() as cloud:
        yield cloud


@pytest.fixture(scope="session", params=["sandbox", pytest.param("real", marks=pytest.mark.real)])
def cloud(request: pytest.FixtureRequest) -> CloudUnderTest:
    """Return each cloud in turn. It keeps what tests create, so they look only at their own."""
    found: CloudUnderTest = request.getfixturevalue(f"{request.param}_cloud")
    return found


@pytest.fixture
async def client(cloud: CloudUnderTest) -> AsyncIterator[Client]:
    """Return a client with connections of its own."""
    async with aiohttp.ClientSession() as session:
        yield Client(session, cloud)


@pytest.fixture(scope="session")
def full_image(cloud: CloudUnderTest) -> str:
    """Return the ID of an image of alice's that is at its member quota, with the members m0, m1..."""
    image_id = cloud.create_image("full")
    with ThreadPoolExecutor(8) as threads:
        for _ in threads.map(lambda number: cloud.add_member(image_id, f"m{number}"), range(cloud.image_member_quota)):
            pass  # the loop raises what a thread raised
    return image_id


@pytest.fixture
def tag() -> str:
    """Return a tag that no image has yet, to tell a test's images from those of others."""
    return uuid4().hex
