"""The clouds that the engine is tested on: the sandbox, and a real Glance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.sandbox_cloud import SandboxCloud

if TYPE_CHECKING:
    from collections.abc import Iterator

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
