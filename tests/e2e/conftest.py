"""An operator with a project of their own, on the sandbox and on a real cloud."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

import pytest

from tests.sandbox_cloud import SandboxCloud
from tests.users import User

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cloud import CloudUnderTest
    from tests.shell import Shell


class Operator(NamedTuple):
    """A cloud, an admin's shell in a new project on it, and that user. Two other projects are new as well."""

    cloud: CloudUnderTest
    shell: Shell
    user: User
    tenants: tuple[str, str]

    def create_image(self, name: str, **attributes: str | bool) -> str:
        """Create an image in the operator's project and return its ID."""
        return self.cloud.create_image(name, owner=self.user.name, **attributes)  # type: ignore[arg-type]


@pytest.fixture(params=["sandbox", pytest.param("real", marks=pytest.mark.real)])
def operator(request: pytest.FixtureRequest, shell: Shell) -> Iterator[Operator]:
    """Return an operator on each cloud in turn."""
    with ExitStack() as stack:
        cloud: CloudUnderTest = (
            request.getfixturevalue("real_cloud") if request.param == "real" else stack.enter_context(SandboxCloud())
        )
        unique = uuid4().hex[:12]
        user = User(f"operator-{unique}", "operatorpw", f"images-{unique}", "admin")
        cloud.create_user(user, {cloud.create_project(user.project): user.role})
        tenants = (cloud.create_project(f"one-{unique}"), cloud.create_project(f"two-{unique}"))
        shell.env["OS_CLIENT_CONFIG_FILE"] = str(cloud.write_clouds_yaml(shell.directory / "clouds.yaml"))
        shell.env["OS_CLOUD"] = user.name
        yield Operator(cloud, shell, user, tenants)
