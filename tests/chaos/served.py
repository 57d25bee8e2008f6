"""A sandbox in a thread of the test's process: its requests can be counted, and no kill of a client reaches it."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future
from http import HTTPStatus
from typing import TYPE_CHECKING, Self

from bulkshare.sandbox import Behaviour, Cloud, Dialect, Sandbox
from bulkshare.sandbox.ims import AS_DOCUMENTED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from bulkshare.sandbox import FaultRule
    from tests.shell import Shell

START_SECONDS = 30
UNLIMITED = -1


class ServedSandbox:
    """A sandbox with `images` images and no quota, as a context manager.

    projects: besides the images' own; only with `dialect` need they exist.
    dialect, behaviour: as in `Sandbox`.

    A POST is at work for `latency_seconds` between looking and inserting, whether or not its client still lives.
    """

    def __init__(
        self,
        images: int,
        *,
        latency_seconds: float,
        faults: Sequence[FaultRule] = (),
        projects: int = 0,
        dialect: Dialect = Dialect.OPENSTACK,
        behaviour: Behaviour = AS_DOCUMENTED,
    ) -> None:
        self.cloud = Cloud.sample(images, projects, member_quota=UNLIMITED)
        self._dialect = dialect
        self._behaviour = behaviour
        self.held = threading.Event()  # while it is set, nothing below /image is answered
        self.posted_at: list[float] = []  # when POSTs of members arrived, on the monotonic clock
        self.throttled_at: list[float] = []  # when an answer was 429
        self._faults = faults
        self._latency_seconds = latency_seconds
        self._started: Future[Sandbox] = Future()
        self._end: Future[None] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.result(START_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set_result(None)
        self._thread.join()

    @property
    def images(self) -> list[str]:
        """The images' IDs."""
        return list(self.cloud.images)

    @property
    def posts(self) -> int:
        """How many POSTs of members have arrived, and of batches of them."""
        return self.requests("POST members") + self.requests("POST batches")

    @property
    def projects(self) -> list[str]:
        """The IDs of the projects that images can be shared with."""
        return [project_id for project_id in self.cloud.projects if project_id != self.cloud.admin_project.id]

    def requests(self, target: str) -> int:
        """Return how many requests such as "GET members" have arrived."""
        return self._started.result().requests[target]

    def rows(self) -> dict[tuple[str, str], int]:
        """Return how many rows each pair has."""
        images = self.cloud.images.values()
        return {(image.id, row.member_id): row.copies for image in images for row in image.rows.values()}

    def serve_to(self, shell: Shell) -> None:
        """Let the shell's commands use it as cloud `sandbox`."""
        shell.write("clouds.yaml", self._started.result().clouds_yaml())
        shell.env["OS_CLIENT_CONFIG_FILE"] = str(shell.directory / "clouds.yaml")

    def most_in(self, seconds: float) -> int:
        """Return how many POSTs arrived in the fullest window of so many seconds."""
        most, first = 0, 0
        for number, at in enumerate(self.posted_at):
            while at - self.posted_at[first] >= seconds:
                first += 1
            most = max(most, number - first + 1)
        return most

    def _note(self, method: str, target: str, status: int) -> None:
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            self.throttled_at.append(time.monotonic())
        if method == "POST" and target.endswith("/members"):
            self.posted_at.append(time.monotonic() - self._latency_seconds)

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        while self.held.is_set():
            await asyncio.sleep(0.01)

    async def _serve(self) -> None:
        try:
            async with Sandbox(
                self.cloud,
                latency_seconds=self._latency_seconds,
                sleep=self._pause,
                faults=self._faults,
                dialect=self._dialect,
                behaviour=self._behaviour,
                on_response=self._note,
            ) as sandbox:
                self._started.set_result(sandbox)
                await asyncio.wrap_future(self._end)
        except BaseException as error:
            if not self._started.done():
                self._started.set_exception(error)
            raise
