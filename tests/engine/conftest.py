"""The clouds that the engine is tried on: the sandbox, and the real Glance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.sandboxcloud import SandboxCloud

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
    """Return each cloud in turn; what one test makes in it stays, so tests look only at what is theirs."""
    found: CloudUnderTest = request.getfixturevalue(f"{request.param}_cloud")
    return found
