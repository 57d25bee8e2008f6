"""A fake of Huawei Cloud's image service without sockets: batches and jobs, with every answer left undocumented."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio

from bulkshare.model import Fault, FaultKind, Reply, Request
from tests.engine.fakes import FakeCloud, response
from tests.engine.harness import ACCOUNT

if TYPE_CHECKING:
    from collections.abc import Callable

Pair = tuple[str, str]


@dataclass
class Job:
    """A job: it changes the members when it ends."""

    ends_at: float
    method: str
    pairs: list[Pair]
    done: bool = False


@dataclass
class ImsCloud(FakeCloud):
    """A FakeCloud that has batches as well.

    job_seconds: how long jobs take.
    own_script: may answer the service's own calls first.
    undone, undone_accepts: pairs that no job changes, or accepts, although single requests may.
    refusals: (code, applies) in order; the first that applies to the images and projects of a batch refuses it.
    fails_partly: a job with some undone pairs ends with FAIL rather than SUCCESS.
    older_jobs: only the older call for jobs exists.
    forgets_jobs: jobs are never found.
    no_batches: the gateway has no such call.
    loses: how many answers to batches are lost, although the jobs start.
    """

    job_seconds: float = 2.5
    own_script: Callable[[Request], Reply | None] = lambda _request: None
    undone_accepts: set[Pair] = field(default_factory=set)
    undone: set[Pair] = field(default_factory=set)
    refusals: list[tuple[str, Callable[[list[str], list[str]], bool]]] = field(default_factory=list)
    fails_partly: bool = False
    older_jobs: bool = False
    forgets_jobs: bool = False
    no_batches: bool = False
    loses: int = 0
    jobs: dict[str, Job] = field(default_factory=dict)
    batches: list[tuple[str, list[str], list[str]]] = field(default_factory=list)
    polls: int = 0

    async def send(self, request: Request) -> Reply:
        """Answer as the image service would."""
        self._finish_jobs()
        if not request.path.startswith("/v1/"):
            self._check_alone(request)
            return await super().send(request)
        self.sent.append((anyio.current_time(), request))
        await anyio.sleep(self.latency_seconds)
        scripted = self.own_script(request)
        if scripted is not None:
            return scripted
        if request.path == "/v1/cloudimages/members":
            return self._start(request)
        return self._job(request.path)

    def _start(self, request: Request) -> Reply:
        if self.no_batches:
            return response(404, {"error_code": "APIGW.0101", "error_msg": "the API does not exist"})
        body = json.loads(request.body or b"")
        images, projects = body["images"], body.get("projects") or [body["project_id"]]
        if request.method == "PUT":
            assert request.project == (None if body["project_id"] == ACCOUNT.project_id else body["project_id"])
        self.batches.append((request.method, images, projects))
        for code, applies in self.refusals:
            if applies(images, projects):
                return response(400, {"error": {"code": code, "message": "refused"}})
        pairs = [(image, project) for image in images for project in projects]
        running = {pair for job in self.jobs.values() if not job.done for pair in job.pairs}
        assert running.isdisjoint(pairs), "a pair in two requests at once"
        job_id = f"job-{len(self.jobs)}"
        self.jobs[job_id] = Job(anyio.current_time() + self.job_seconds, request.method, pairs)
        if self.loses:
            self.loses -= 1
            return Fault(FaultKind.LOST, "the connection was lost")
        return response(200, {"job_id": job_id})

    def _job(self, path: str) -> Reply:
        self.polls += 1
        older = "/jobs/" in path
        job = self.jobs.get(path.rpartition("/")[2])
        if job is None or self.forgets_jobs or (self.older_jobs and not older):
            return response(404, {"error_code": "APIGW.0101", "error_msg": "not found"})
        if not job.done:
            return response(200, {"status": "RUNNING"})
        failed = self.fails_partly and not self.undone.isdisjoint(job.pairs)
        return response(200, {"status": "fail" if failed else "Success", "entities": {"results": []}})

    def _finish_jobs(self) -> None:
        for job in self.jobs.values():
            if job.done or anyio.current_time() < job.ends_at:
                continue
            job.done = True
            for pair in set(job.pairs) - self.undone:
                if job.method == "PUT":
                    self.statuses[pair] = "pending" if pair in self.undone_accepts else "accepted"
                elif job.method == "DELETE":
                    self.statuses.pop(pair, None)
                else:
                    self.statuses.setdefault(pair, "pending")

    def _check_alone(self, request: Request) -> None:
        """Assert that a request for one pair does not meet a job with it."""
        if request.method not in {"POST", "DELETE", "PUT"}:
            return
        image_id = request.path.split("/")[3]
        member_id = (
            json.loads(request.body)["member"]
            if request.method == "POST" and request.body
            else request.path.rpartition("/")[2]
        )
        running = {pair for job in self.jobs.values() if not job.done for pair in job.pairs}
        assert (image_id, member_id) not in running or self.forgets_jobs, "a pair in two requests at once"

    def native(self, method: str) -> int:
        """Count the single requests with a method."""
        return sum(request.method == method and request.path.startswith("/v2/") for _, request in self.sent)
