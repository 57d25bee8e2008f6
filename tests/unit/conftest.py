"""What the tests of the identity layer share: an identity service, and a configuration of their own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from bulkshare.cloud import clouds_yaml
from tests.fake_keystone import FakeKeystone, served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def keystone() -> AsyncIterator[FakeKeystone]:
    """An identity service on a loopback port."""
    fake = FakeKeystone()
    async with served(fake.handle) as url:
        fake.url = url + "/v3"
        yield fake


@pytest.fixture
def own_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No configuration but the test's own."""
    for name in list(os.environ):
        if name.startswith("OS_") or name.lower().endswith("_proxy") or name.endswith("CA_BUNDLE"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(clouds_yaml, "search_path", lambda: [str(tmp_path)])


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Write a clouds.yaml (or another file) of these clouds where it is looked for."""

    def write(clouds: object, name: str = "clouds.yaml") -> Path:
        path = tmp_path / name
        path.write_text(clouds if isinstance(clouds, str) else yaml.safe_dump({"clouds": clouds}))
        return path

    return write
