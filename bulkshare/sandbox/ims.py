"""The sandbox's image service as on Huawei Cloud and Open Telekom Cloud: batches of members, jobs, quotas, own lists.

Calls answer as documented. Where the documentation is silent, `Behaviour` chooses: the sandbox can give each answer
that a client has to be prepared for. Sentences are the sandbox's own; the codes are the service's.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import uuid
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from bulkshare.sandbox.glance import Glance
from bulkshare.sandbox.images import read_json
from bulkshare.sandbox.wire import RefusalError, Response, isotime, json_response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime

    from bulkshare.sandbox.cloud import Cloud, Image, MemberRow, Token
    from bulkshare.sandbox.wire import Request


class Dialect(StrEnum):
    """Which cloud the sandbox plays."""

    OPENSTACK = "openstack"
    HUAWEI = "huawei"  # access keys; members in pages; the newer call for jobs, and the older one
    OTC = "otc"  # tokens; the older call for jobs only


class Behaviour(NamedTuple):
    """How the service answers where the documentation is silent; the first value of each is the default.

    partial: how a job ends that left out some pairs: success, fail.
    results: what an ended job lists: full, images (without projects), none.
    duplicates: a batch with a pair that is a member already: ok, fail (the job), 400, 409.
    unknown: a project that doesn't exist: request (the batch is refused), job (its pairs are left out).
    quota: more pairs than fit: none (are added), fit (as many as do).
    quota_at: when the quota is checked: add, accept.
    jobs: how long a job may be asked for: kept, forgotten (as soon as it has ended).
    job_seconds: how long a job takes.
    """

    partial: str = "success"
    results: str = "full"
    duplicates: str = "ok"
    unknown: str = "request"
    quota: str = "none"
    quota_at: str = "add"
    jobs: str = "kept"
    job_seconds: float = 0.0

    @classmethod
    def parse(cls, answers: Sequence[str]) -> Self:
        """Return the behaviour that `NAME=VALUE` words choose. Raises `ValueError`, which says what is possible."""
        chosen: dict[str, Any] = {}
        for answer in answers:
            name, _, value = answer.partition("=")
            if name == "job_seconds" and SECONDS.fullmatch(value):
                chosen[name] = float(value)
            elif value not in CHOICES.get(name, ()):
                known = "; ".join(f"{key}={'|'.join(values)}" for key, values in CHOICES.items())
                raise ValueError(f"{answer!r}: known are {known}; job_seconds=N")
            else:
                chosen[name] = value
        return cls(**chosen)


AS_DOCUMENTED = Behaviour()
SECONDS = re.compile(r"\d{1,6}(\.\d{1,6})?", re.ASCII)
CHOICES = {
    "partial": ("success", "fail"),
    "results": ("full", "images", "none"),
    "duplicates": ("ok", "fail", "400", "409"),
    "unknown": ("request", "job"),
    "quota": ("none", "fit"),
    "quota_at": ("add", "accept"),
    "jobs": ("kept", "forgotten"),
}
OTC_QUOTA = 256  # members an image may have: Open Telekom Cloud's manual
JOB_TYPES = {"POST": "imsAddImageMembersJob", "DELETE": "imsDelImageMembersJob", "PUT": "imsUpdateImageMembersJob"}
PAGE = 500  # members in a page, if no limit is given
MOST_IN_PAGE = 1000


@dataclass(slots=True)
class Job:
    """A job: it does its work when it ends."""

    id: str
    method: str
    pairs: list[tuple[str, str]]
    token: Token
    status: str
    began_at: datetime
    ends_at: float  # on the loop's clock, in seconds
    failed: bool = False
    done: bool = False
    results: list[dict[str, str]] = field(default_factory=list)


class Ims(Glance):
    """The image service of one cloud, in a dialect.

    clock: monotonic, in seconds; jobs end on it.
    """

    def __init__(
        self,
        cloud: Cloud,
        *,
        endpoint: str,
        auth_url: str,
        pause: Callable[[], Awaitable[None]],
        dialect: Dialect,
        behaviour: Behaviour,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(cloud, endpoint=endpoint, auth_url=auth_url, pause=pause)
        self._pause = pause
        self._dialect = dialect
        self._behaviour = behaviour
        self._clock = clock
        self._jobs: dict[str, Job] = {}
        for image in cloud.images.values():
            if image.visibility == "private":  # here, private images are shared as they are
                image.visibility = "shared"

    async def respond(self, request: Request) -> Response:
        """Respond to a request; never raises."""
        self._work()
        path = request.path.strip("/").split("/")
        if not self._is_own(request.method, path):
            return await super().respond(request)
        token = self._cloud.token(request.headers.get("X-Auth-Token"))
        if token is None:
            return self.refuse(request, RefusalError(401, "the token is not valid"))
        await self._pause()
        try:
            response = self._own(request, token, path)
        except RefusalError as refusal:
            return self.refuse(request, refusal)
        return response.with_headers(X_Request_Id=uuid.uuid4().hex)

    def refuse(self, request: Request, refusal: RefusalError) -> Response:
        """Return a refusal in the service's shape, or, if it has no code, as Glance words it."""
        if not isinstance(refusal, CodedError):
            return super().refuse(request, refusal)
        error = {"error": {"message": refusal.explanation, "code": refusal.code}}
        return json_response(refusal.status, error).with_headers(X_Request_Id=uuid.uuid4().hex)

    def _is_own(self, method: str, path: Sequence[str]) -> bool:
        """Return whether a call is not answered as Glance does."""
        match path:
            case ["v1", *_] | ["v2", "cloudimages"]:
                return True
            case ["v2", "images", _]:
                return method == "PATCH"
            case ["v2", "images", _, "members"]:
                return method == "POST" or self._dialect is Dialect.HUAWEI
        return False

    def _own(self, request: Request, token: Token, path: Sequence[str]) -> Response:
        match request.method, path:
            case "GET", _:
                return self._read(request, token, path)
            case "POST", ["v2", "images", image_id, "members"]:
                return self._add_member(request, token, image_id)
            case "PATCH", ["v2", "images", _]:
                raise CodedError("IMG.0035", "the visibility can't be changed")
            case "POST" | "DELETE", ["v1", "cloudimages", "members"]:
                return self._start(request, token)
            case "PUT", ["v1", "cloudimages", "members"]:
                return self._start_accepting(request, token)
        return _no_such_call()

    def _read(self, request: Request, token: Token, path: Sequence[str]) -> Response:
        match path:
            case ["v2", "images", image_id, "members"] | ["v1", _, "cloudimages", image_id, "members"]:
                return self._list_members(request, token, image_id)
            case ["v1", "cloudimages", "job", job_id] if self._dialect is Dialect.HUAWEI:
                return self._show_job(job_id, with_results=False)
            case ["v1", project_id, "jobs", job_id]:
                if project_id != token.project_id:
                    raise CodedError("IMG.0030", "the project is not the token's")
                return self._show_job(job_id, with_results=True)
            case ["v1", "cloudimages", "quota"]:
                return self._quotas(token)
            case ["v2", "cloudimages"]:
                return self._list_images(request, token)
        return _no_such_call()

    def _add_member(self, request: Request, token: Token, image_id: str) -> Response:
        """Add one member: the native call, with the service's codes."""
        image, project_id = self._shareable(token, image_id), _body(request).get("member")
        if not isinstance(project_id, str) or not self._exists(project_id):
            raise CodedError("IMG.0108", f"the project {project_id} does not exist in this region")
        if project_id == token.project_id:
            raise CodedError("IMG.0076", f"the project {project_id} owns the image")
        if image.member(project_id) is not None:
            raise RefusalError(409, f"Member {project_id} is duplicated for image {image_id}")
        if self._is_full(image):
            raise CodedError("IMG.0088", "the quota of members is used up")
        return json_response(200, _member(image, image.insert(project_id, self._cloud.clock())))

    # --- batches and jobs ----------------------------------------------------------------------------------------

    def _start(self, request: Request, token: Token) -> Response:
        body = _body(request)
        images = [self._shareable(token, image_id) for image_id in _ids(body, "images")]
        projects = _ids(body, "projects")
        for project_id in projects:
            if project_id == token.project_id:
                raise CodedError("IMG.0076", "the project owns the image")
            if self._behaviour.unknown == "request" and not self._exists(project_id):
                raise CodedError("IMG.0108", "the project does not exist in this region")
        pairs = [(image.id, project_id) for image in images for project_id in projects]
        failed = False
        if request.method == "POST":
            failed = self._check_batch(images, projects)
        return self._begin(request.method, pairs, token, failed=failed)

    def _check_batch(self, images: Sequence[Image], projects: Sequence[str]) -> bool:
        """Refuse a batch as the behaviour says; return whether its job is to fail as a whole."""
        if self._behaviour.duplicates != "ok" and any(
            image.member(project_id) for image in images for project_id in projects
        ):
            if self._behaviour.duplicates == "fail":
                return True
            raise CodedError("IMG.0105", "a project is a member already", int(self._behaviour.duplicates))
        if self._behaviour.quota == "none" and self._behaviour.quota_at == "add":
            for image in images:
                new = sum(image.member(project_id) is None for project_id in projects)
                if 0 <= self._cloud.member_quota < image.member_count + new:
                    raise CodedError("IMG.0088", "the quota of members is used up")
        return False

    def _start_accepting(self, request: Request, token: Token) -> Response:
        body = _body(request)
        project_id, status = body.get("project_id"), body.get("status")
        if status not in {"accepted", "rejected"} or not isinstance(project_id, str):
            raise CodedError("IMG.0001", "the body has no project or status")
        if project_id != token.project_id:
            raise CodedError("IMG.0030", "the project is not the token's")
        pairs = []
        for image_id in _ids(body, "images"):
            image = self._cloud.images.get(image_id)
            if image is None or image.member(project_id) is None:
                raise CodedError("IMG.0027", "the image was not shared with the project")
            if image.properties.get("__whole_image") == "true" and not body.get("vault_id"):
                raise CodedError("IMG.0182", "a vault is needed")
            pairs.append((image_id, project_id))
        return self._begin(f"PUT {status}", pairs, token)

    def _begin(self, method: str, pairs: list[tuple[str, str]], token: Token, *, failed: bool = False) -> Response:
        job = Job(
            id=uuid.uuid4().hex,
            method=method,
            pairs=pairs,
            token=token,
            status="RUNNING",
            began_at=self._cloud.clock(),
            ends_at=self._clock() + self._behaviour.job_seconds,
            failed=failed,
        )
        self._jobs[job.id] = job
        self._work()
        return json_response(200, {"job_id": job.id})

    def _work(self) -> None:
        """Finish the jobs whose time has come."""
        for job in self._jobs.values():
            if job.done or self._clock() < job.ends_at:
                continue
            job.done = True
            left_out = [pair for pair in job.pairs if not (not job.failed and self._change(job, *pair))]
            job.results = [
                {"image_id": image_id, "project_id": project_id, "status": "failed" if pair in left_out else "success"}
                for image_id, project_id in job.pairs
                for pair in [(image_id, project_id)]
            ]
            failed = job.failed or (left_out and self._behaviour.partial == "fail")
            job.status = "FAIL" if failed else "SUCCESS"

    def _change(self, job: Job, image_id: str, project_id: str) -> bool:
        """Do a job's work on one pair; return whether it was done."""
        image = self._cloud.images.get(image_id)
        if image is None:
            return False
        row, now = image.member(project_id), self._cloud.clock()
        if job.method == "DELETE":
            if row is not None:
                image.remove(row)
            return True
        if job.method.startswith("PUT "):
            if row is None or (self._behaviour.quota_at == "accept" and self._is_full(image, accepted=True)):
                return False
            row.status, row.updated_at = job.method.removeprefix("PUT "), now
            return True
        if row is not None:
            if row.status == "rejected":  # an image that was rejected may be shared again
                row.status, row.updated_at = "pending", now
            return True
        full = self._behaviour.quota_at == "add" and self._is_full(image)
        if full or not self._exists(project_id):
            return False
        image.insert(project_id, now)
        return True

    def _is_full(self, image: Image, *, accepted: bool = False) -> bool:
        count = sum(row.status == "accepted" for row in image.rows.values()) if accepted else image.member_count
        return 0 <= self._cloud.member_quota <= count

    def _show_job(self, job_id: str, *, with_results: bool) -> Response:
        job = self._jobs.get(job_id)
        if job is None or (job.done and self._behaviour.jobs == "forgotten"):
            raise CodedError("IMG.0023", "the job can't be queried")
        ended = self._cloud.clock() if job.done else None
        document = {
            "job_id": job.id,
            "job_type": JOB_TYPES[job.method.partition(" ")[0]],
            "status": job.status,
            "begin_time": isotime(job.began_at),
            "end_time": isotime(ended) if ended else "",
            "error_code": "IMG.0113" if job.status == "FAIL" else None,
            "fail_reason": "some members were not changed" if job.status == "FAIL" else None,
            "entities": {"process_percent": 1.0 if job.done else 0.5, "current_task": job.method},
        }
        if with_results:
            document["entities"] = {"results": self._results(job)}
        return json_response(200, document)

    def _results(self, job: Job) -> list[dict[str, str]]:
        if self._behaviour.results == "none":
            return []
        if self._behaviour.results == "images":
            return [{name: result[name] for name in ("image_id", "status")} for result in job.results]
        return job.results

    # --- lists and quotas ----------------------------------------------------------------------------------------

    def _quotas(self, token: Token) -> Response:
        own = [image for image in self._cloud.images.values() if image.owner == token.project_id]
        quota = self._cloud.member_quota
        resources = [
            {"type": "image", "used": len(own), "quota": 100, "min": 1, "max": 1000},
            {"type": "image_member", "used": 0, "quota": quota if quota >= 0 else 100_000, "min": 0, "max": 100_000},
        ]
        return json_response(200, {"quotas": {"resources": resources}})

    def _list_members(self, request: Request, token: Token, image_id: str) -> Response:
        """List members in pages, as Huawei Cloud does."""
        image = self._readable(token, image_id)
        params = dict(request.query)
        limit = int(params["limit"]) if params.get("limit", "").isdigit() else PAGE
        if not 1 <= limit <= MOST_IN_PAGE:
            raise CodedError("IMG.0001", "limit must be from 1 to 1000")
        mine = token.is_admin or image.owner == token.project_id
        rows = [row for row in image.rows.values() if row.copies and (mine or row.member_id == token.project_id)]
        start = _position(params["marker"]) if params.get("marker") else 0
        page, rest = rows[start : start + limit], rows[start + limit :]
        info: dict[str, Any] = {"current_count": len(page)}
        if rest:
            info["next_marker"] = base64.b64encode(json.dumps({"at": start + limit}).encode()).decode()
        members = [_member(image, row) for row in page]
        return json_response(200, {"members": members, "schema": "/v2/schemas/members", "page_info": info})

    def _list_images(self, request: Request, token: Token) -> Response:
        """List images by the filters that tell own and received ones apart."""
        wanted = dict(request.query)
        found = []
        for image in self._cloud.images.values():
            own = image.owner == token.project_id
            received = not own and image.member(token.project_id) is not None
            kind = "shared" if received or (own and image.member_count) else "private"
            tests = {
                "__imagetype": kind,
                "name": image.name,
                "id": image.id,
                "owner": image.owner,
                "status": image.status,
            }
            tags = {tag.replace(".", "=", 1) for tag in image.tags}
            if not {value for name, value in request.query if name == "tag"} <= tags:
                continue
            if (own or received) and all(tests.get(name) == value for name, value in wanted.items() if name in tests):
                found.append(_image(image, kind))
        limit = int(wanted["limit"]) if wanted.get("limit", "").isdigit() else PAGE
        after = next((place for place, each in enumerate(found, 1) if each["id"] == wanted.get("marker")), 0)
        page = found[after : after + limit]
        info: dict[str, Any] = {"current_count": len(page)}
        if len(found) > after + limit:
            info["next_marker"] = page[-1]["id"]
        return json_response(200, {"images": page, "page_info": info})

    # --- what both have ------------------------------------------------------------------------------------------

    def _exists(self, project_id: str) -> bool:
        project = self._cloud.projects.get(project_id)
        return project is not None and project.enabled

    def _readable(self, token: Token, image_id: str) -> Image:
        image = self._cloud.images.get(image_id)
        visible = image is not None and (
            token.is_admin or image.owner == token.project_id or image.member(token.project_id) is not None
        )
        if image is None or not visible:
            raise CodedError("IMG.0066", f"the image {image_id} does not exist")
        return image

    def _shareable(self, token: Token, image_id: str) -> Image:
        image = self._readable(token, image_id)
        if image.owner != token.project_id:
            raise CodedError("IMG.0047", "the image is another project's")
        if image.visibility == "public":
            raise CodedError("IMG.0089", "the image is public")
        if image.status != "active":
            raise CodedError("IMG.0046", "the image is not active")
        if image.properties.get("__system__cmkid"):
            raise CodedError("IMG.0098", "the image is encrypted")
        return image


class CodedError(RefusalError):
    """A refusal with one of the service's codes."""

    def __init__(self, code: str, explanation: str, status: int = 400) -> None:
        super().__init__(status, explanation)
        self.code = code


def _no_such_call() -> Response:
    return json_response(404, {"error_code": "APIGW.0101", "error_msg": "The API does not exist."})


def _body(request: Request) -> dict[str, Any]:
    body = read_json(request.body)
    if not isinstance(body, dict):
        raise CodedError("IMG.0001", "the body is not an object")
    return body


def _ids(body: dict[str, Any], name: str) -> list[str]:
    found = body.get(name)
    if not isinstance(found, list) or not found or not all(isinstance(each, str) and each for each in found):
        raise CodedError("IMG.0007", f"the body has no {name}")
    return list(dict.fromkeys(found))


def _position(marker: str) -> int:
    try:
        return int(json.loads(base64.b64decode(marker, validate=True))["at"])
    except (binascii.Error, ValueError, KeyError, TypeError):
        raise CodedError("IMG.0001", "the marker is not valid") from None


def _member(image: Image, row: MemberRow) -> dict[str, str]:
    return {
        "member_id": row.member_id,
        "member_type": "project",
        "image_id": image.id,
        "status": row.status,
        "created_at": isotime(row.created_at),
        "updated_at": isotime(row.updated_at),
        "schema": "/v2/schemas/member",
    }


def _image(image: Image, kind: str) -> dict[str, Any]:
    return {
        **image.properties,
        "id": image.id,
        "name": image.name,
        "status": image.status,
        "owner": image.owner,
        "visibility": "private",
        "__imagetype": kind,
        "created_at": isotime(image.created_at),
        "updated_at": isotime(image.updated_at),
        "tags": [tag.replace(".", "=", 1) for tag in image.tags],
    }
