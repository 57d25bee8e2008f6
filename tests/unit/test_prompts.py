"""A log-in that needs a person shows its URL, and is refused if no one would see it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from keystoneauth1.identity.v3 import Password

from bulkshare.cli.console import ConsoleListener
from bulkshare.cloud import CloudEntry
from bulkshare.cloud.prompts import NEEDS_PERSON
from bulkshare.errors import UsageError
from bulkshare.model import Limits, RetryPolicy, Settings
from bulkshare.operations.endpoint import open_identity
from bulkshare.operations.listener import SilentListener
from tests.fake_keystone import FakeKeystone, message_of

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from keystoneauth1.access import AccessInfoV3
    from keystoneauth1.session import Session

    from bulkshare.cloud import CloudIdentity, KeyIdentity
    from bulkshare.operations.listener import Listener

pytestmark = pytest.mark.usefixtures("own_configuration")
SETTINGS = Settings(cloud="fake", region=None, sandbox=False, limits=Limits(), retry=RetryPolicy())


class Browser(Password):
    """Logs where to log in, as the plugins for that do."""

    def get_auth_ref(self, session: Session) -> AccessInfoV3:
        """See `keystoneauth1.identity.v3.base.Auth`."""
        logger = logging.getLogger("keystoneauth.identity.v3.oidc")
        logger.warning("To authenticate please go to: %s", "https://idp.example/device?code=1\x1b[2J")
        return super().get_auth_ref(session)


class Watched(SilentListener):
    """A listener with a person at the terminal."""

    is_watched = True

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        """Remember it."""
        self.notes.append(message)


def credentials_of(keystone: FakeKeystone, auth_type: str) -> CloudEntry:
    """Credentials whose log-in needs a person."""
    plugin = Browser(keystone.url, username="ann", password="hush-hush", project_id="p1")
    return CloudEntry("fake", auth_type, keystone.url, plugin)


def opened(
    credentials: CloudEntry, listener: Listener | None
) -> AbstractAsyncContextManager[CloudIdentity | KeyIdentity]:
    """Log in with credentials."""
    return open_identity(SETTINGS, credentials=credentials, listener=listener, give_up_after_seconds=0.0)


@pytest.mark.parametrize("auth_type", sorted(NEEDS_PERSON))
async def test_the_url_is_shown(keystone: FakeKeystone, auth_type: str) -> None:
    """Once for a log-in, as one clean line; afterwards nothing listens any more."""
    watched, handlers = Watched(), list(logging.getLogger("keystoneauth").handlers)
    async with opened(credentials_of(keystone, auth_type), watched) as identity:
        assert await identity.token() == "token-1"
    assert watched.notes == ["To authenticate please go to: https://idp.example/device?code=1 [2J"]
    assert logging.getLogger("keystoneauth").handlers == handlers


@pytest.mark.parametrize("auth_type", sorted(NEEDS_PERSON))
@pytest.mark.parametrize("listener", [None, SilentListener()])
async def test_it_is_refused_if_no_one_would_see_it(
    keystone: FakeKeystone, auth_type: str, listener: SilentListener | None
) -> None:
    """Nothing is sent, and nothing waits."""
    with pytest.raises(UsageError, match=f"cloud fake: auth_type {auth_type} needs a person") as error:
        async with opened(credentials_of(keystone, auth_type), listener):
            pass
    assert "application credential" in message_of(error)
    assert keystone.bodies == []


@pytest.mark.parametrize(
    ("terminal", "quiet", "watched"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_who_is_watched(monkeypatch: pytest.MonkeyPatch, terminal: bool, quiet: bool, watched: bool) -> None:  # noqa: FBT001  # a table
    """A command on a terminal, without -q."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    listener = ConsoleListener.choose(quiet=quiet, verbose=False, form="text", log_format="json")
    assert listener.is_watched is watched
