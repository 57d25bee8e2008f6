"""Whatever Huawei Cloud's service answers where its documentation is silent: the same ledger and the same members.

The engine works on the sandbox's service in virtual time, without sockets.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import anyio
import pytest
from multidict import CIMultiDict

from bulkshare.model import Account, Limits, Orders, Reply, Request, Response, Result
from bulkshare.sandbox import Behaviour, Cloud, Dialect
from bulkshare.sandbox.ims import CHOICES, Ims
from bulkshare.sandbox.wire import Request as WireRequest
from tests.engine.harness import EngineHarness

if TYPE_CHECKING:
    from bulkshare.sandbox import Image

JOB_SECONDS = 2.5
REST_OF_ID = "-0000-4000-8000-000000000000"
PARTS = 4  # for test processes
EVERY = [dict(zip(CHOICES, values, strict=True)) for values in itertools.product(*CHOICES.values())]


@dataclass
class Service:
    """A Transport to a service of the sandbox, with the admin's token."""

    cloud: Cloud
    behaviour: Behaviour
    dialect: Dialect
    latency_seconds: float = 0.02
    sent: list[Request] = field(default_factory=list)
    service: Ims | None = None

    async def send(self, request: Request) -> Reply:
        """Let the service answer."""
        if self.service is None:  # in the loop, whose clock the jobs end on
            self.service = Ims(
                self.cloud,
                endpoint="http://ims",
                auth_url="http://iam",
                pause=lambda: anyio.sleep(self.latency_seconds),
                dialect=self.dialect,
                behaviour=self.behaviour,
                clock=anyio.current_time,
            )
            self.token = self.cloud.issue_token(self.cloud.admin, self.cloud.admin_project, "password").id
        self.sent.append(request)
        path, _, query = request.path.partition("?")
        headers = CIMultiDict({"X-Auth-Token": self.token, "Accept": "application/json"})
        if request.body is not None:
            headers["Content-Type"] = request.content_type
        found = await self.service.respond(
            WireRequest(request.method, path, tuple(parse_qsl(query)), headers, request.body or b"")
        )
        return Response(found.status, {name.lower(): value for name, value in found.headers.items()}, found.body)


def cloud_of(quota: int) -> tuple[Cloud, list[Image], list[str]]:
    """Return a cloud with three images, twelve projects, and some members of the first image."""
    cloud = Cloud(member_quota=quota)
    images = [
        cloud.add_image(f"image-{number}", image_id=f"{number:08}-0000-4000-8000-000000000000") for number in range(3)
    ]
    projects = sorted(cloud.add_project(f"project-{number}").id for number in range(12))
    for project_id, status in zip(projects, ("accepted", "pending", "rejected"), strict=False):
        images[0].insert(project_id, cloud.clock()).status = status
    images[2].status = "queued"
    return cloud, images, projects


def run(behaviour: Behaviour, dialect: Dialect, *, quota: int) -> tuple[dict[str, list[Result]], dict[str, list[bool]]]:
    """Share three images with twelve projects, two that don't exist, and their own; return the results and members."""
    cloud, images, projects = cloud_of(quota)
    own = cloud.admin_project.id
    every = [*projects, "g" * 32, "h" * 32, own]
    harness = EngineHarness(
        cloud=Service(cloud, behaviour, dialect),  # type: ignore[arg-type]  # a FakeCloud's `send` is all it needs
        limits=Limits(concurrency=8, per_image=4, batch=5, jobs=3),
        account=Account("cloud", "eu-de", "http://ims", "user", "admin", own),
        batches=True,
        orders={image.id: Orders(fill=True) for image in images},
    )
    harness.ledger.enqueue_all([(image.id, project_id) for image in images for project_id in every])
    harness.run()
    assert not harness.ledger.batches
    results = harness.ledger.results()
    return (
        {str(image.name): [results[image.id, project_id] for project_id in every] for image in images},
        {str(image.name): [image.member(project_id) is not None for project_id in every] for image in images},
    )


SHARED, ALREADY, REJECTED, SKIPPED = Result.SHARED, Result.ALREADY, Result.REJECTED, Result.SKIPPED
# By image, the results of the twelve projects, of two that don't exist, and of the images' own.
WITH_ROOM = {
    "image-0": [ALREADY] * 3 + [SHARED] * 9 + [REJECTED] * 2 + [SKIPPED],
    "image-1": [SHARED] * 12 + [REJECTED] * 2 + [SKIPPED],
    "image-2": [REJECTED] * 14 + [SKIPPED],
}
FULL = {
    "image-0": [ALREADY] * 3 + [SHARED] * 6 + [SKIPPED] * 6,
    "image-1": [SHARED] * 9 + [SKIPPED] * 6,
    "image-2": [REJECTED] * 9 + [SKIPPED] * 6,
}


@pytest.mark.parametrize(
    "answer", ["partial=never", "nothing", "job_seconds=nan", "job_seconds=-1", "job_seconds=", ""]
)
def test_an_answer_that_is_none(answer: str) -> None:
    """The message has all that may be chosen."""
    with pytest.raises(ValueError, match=r"known are partial=success\|fail; .*; job_seconds=N"):
        Behaviour.parse([answer])


def check(expected: dict[str, list[Result]], dialect: Dialect, answers: list[dict[str, str]], *, quota: int) -> None:
    """Run the plan under all these answers; check the ledger and the members of each."""
    for each in answers:
        results, members = run(Behaviour(**each, job_seconds=JOB_SECONDS), dialect, quota=quota)
        assert results == expected, each
        there = {name: [result in {SHARED, ALREADY} for result in row] for name, row in expected.items()}
        assert members == there, each


@pytest.mark.parametrize("part", range(PARTS))
def test_no_answer_of_the_service_changes_what_comes_out(part: int) -> None:
    """Who was a member is `already`; unknown projects, the own one and the inactive image are refused or skipped."""
    with_room = [each for each in EVERY if (each["quota"], each["quota_at"]) == ("none", "add")]
    check(WITH_ROOM, Dialect.HUAWEI, with_room[part::PARTS], quota=128)


def test_a_quota_fills_alike_under_every_answer() -> None:
    """The service is asked for its quota, so it doesn't matter what it does with more than fit."""
    without_duplicates = [each for each in EVERY if (each["duplicates"], each["results"]) == ("ok", "full")]
    check(FULL, Dialect.HUAWEI, without_duplicates, quota=9)


def test_open_telekom_cloud_comes_out_the_same() -> None:
    """It has the older call for jobs, and members in one page: what jobs say is all that could make a difference."""
    about_jobs = [each for each in EVERY if (each["quota"], each["quota_at"], each["unknown"]) == ("fit", "add", "job")]
    check(WITH_ROOM, Dialect.OTC, about_jobs, quota=128)
