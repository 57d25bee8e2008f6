"""The sandbox's image service on a small cloud, called without a socket."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from bulkshare.sandbox import Cloud
from bulkshare.sandbox.glance import Glance
from bulkshare.sandbox.wire import Request, Response

IMAGE = "d164b5df-1bc3-4c3f-893e-3e471fd16e64"
START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class SandboxGlance:
    """A cloud with three users: alice owns the image, bob is in another project, rita is a reader in alice's."""

    def __init__(self, *, member_quota: int = 128) -> None:
        self.now = START
        self.cloud = cloud = Cloud(member_quota=member_quota, clock=lambda: self.now)
        self.ours, self.theirs = cloud.add_project("ours").id, cloud.add_project("theirs").id
        users = {
            "alice": (cloud.add_user("alice", {self.ours: "member"}), self.ours),
            "bob": (cloud.add_user("bob", {self.theirs: "member"}), self.theirs),
            "rita": (cloud.add_user("rita", {self.ours: "reader"}), self.ours),
            "admin": (cloud.admin, cloud.admin_project.id),
        }
        self.tokens = {
            name: cloud.issue_token(user, cloud.projects[project_id], "password").id
            for name, (user, project_id) in users.items()
        }
        self.image = cloud.add_image("golden", image_id=IMAGE, owner=self.ours, tags=["golden", "new"])
        self.glance = Glance(cloud, endpoint="http://image", auth_url="http://identity/v3", pause=self.pause)

    async def pause(self) -> None:
        """Return at once."""

    def tick(self) -> None:
        """Let a second pass."""
        self.now += timedelta(seconds=1)

    async def ask(
        self,
        user: str | None,
        method: str,
        path: str,
        body: Any = None,
        *,
        accept: str = "application/json",
        kind: str = "application/json",
    ) -> Response:
        """Send a request as a user, with a token, or without one (None); bytes are sent unchanged."""
        parts = urlsplit(path)
        token = {"X-Auth-Token": self.tokens.get(user, user)} if user else {}
        return await self.glance.respond(
            Request(
                method,
                parts.path,
                tuple(parse_qsl(parts.query, keep_blank_values=True)),
                {**token, "Accept": accept, "Content-Type": kind},
                body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode(),
            )
        )

    async def add(self, member: Any, user: str = "alice", image: str = IMAGE) -> Response:
        """Add a member."""
        return await self.ask(user, "POST", f"/v2/images/{image}/members", {"member": member})


def message(answer: Response) -> str:
    """Return the message of a refusal in JSON."""
    text: str = json.loads(answer.body)["message"]
    return text.partition("<br />")[0]


def names(answer: Response) -> list[str]:
    """Return the names of the listed images."""
    assert answer.status == 200, answer
    return [image["name"] for image in json.loads(answer.body)["images"]]
