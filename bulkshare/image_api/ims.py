"""The image service's own API on Huawei Cloud and Open Telekom Cloud: members in batches, jobs, quotas. Pure.

A batch is every image of a list with every project of another. Its answer is the ID of a job and says nothing about
pairs; a job's end doesn't either: whether a job with some failed pairs has succeeded is documented nowhere, and the
results that it may list are incomplete. So a job is only waited for, and the list of members decides.

=================================================  =============================================================
answer to a batch                                  verdict
=================================================  =============================================================
2xx with a job ID                                  STARTED
2xx without one, lost, timed out                   LOST or UNCLEAR: a job may run; the list of members decides
a code about the image                             REJECTED, scope IMAGE
a code about a project                             REJECTED, scope PAIR: one of the batch's projects is meant
the quota's code                                   OVER_QUOTA
404 with the gateway's "no such call"              UNSUPPORTED: this region has no batches
too fast, server errors, codes about our user      as for any request
=================================================  =============================================================
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from bulkshare.image_api.codes import CODES, Culprit, code_in
from bulkshare.image_api.glance import interpret, parse_json
from bulkshare.model import Request, Response, Step, VerdictKind

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from bulkshare.model import Image, Reply, Verdict

HUAWEI_DOMAINS = ("myhuaweicloud.com", "myhuaweicloud.cn", "myhuaweicloud.eu")
MEMBERS_PATH = "/v1/cloudimages/members"
OWN_IMAGES_PATH = "/v2/cloudimages"
IMAGE_TYPE = "__imagetype"
SEARCHED = frozenset({"status", "sort_key", "sort_dir", "limit"})  # parameters with the meaning of Glance's
QUOTA_PATH = "/v1/cloudimages/quota"
MEMBER_QUOTA = "image_member"  # the type of the quota of members an image may have
FULL_ECS_QUOTA = 10  # members of a full-ECS image: Open Telekom Cloud's manual; the quota call doesn't tell
FULL_ECS = "__whole_image"  # the property of such an image, "true"
ENDED = frozenset({"SUCCESS", "FAIL"})  # of a job; without regard to case, since examples differ from the text
LONGEST_JOB_ID = 255  # characters; the ledger's column
METHODS = {Step.ADD: "POST", Step.REMOVE: "DELETE"}


def batch_request(step: Step, image_ids: Sequence[str], project_ids: Sequence[str]) -> Request:
    """Return the request that adds all projects to all images (ADD), or removes them (REMOVE)."""
    body = {"images": list(image_ids), "projects": list(project_ids)}
    return Request(METHODS[step], MEMBERS_PATH, json.dumps(body).encode())


def accept_request(image_ids: Sequence[str], project_id: str, *, as_member: bool = True) -> Request:
    """Return the request that accepts images for one project, except full-ECS images: these need a `vault_id`.

    as_member: make it in that project, which is not our own.
    """
    body = {"images": list(image_ids), "project_id": project_id, "status": "accepted"}
    return Request("PUT", MEMBERS_PATH, json.dumps(body).encode(), project=project_id if as_member else None)


def job_request(job_id: str, project_id: str | None = None) -> Request:
    """Return the request for a job: the current call, or the older one, which names our project, if that is given."""
    job = quote(job_id, safe="")
    if project_id is None:
        return Request("GET", f"/v1/cloudimages/job/{job}")
    return Request("GET", f"/v1/{quote(project_id, safe='')}/jobs/{job}")


def quota_request() -> Request:
    """Return the request for our project's quotas."""
    return Request("GET", QUOTA_PATH)


def images_queries(query: Sequence[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """Return the queries of the service's own list of images that together find what a query of Glance's list does.

    An image that has been shared is no longer among the private ones. Owners, attributes and operators have to be
    checked by the caller. A tag "a.b" is searched for as "a=b".
    """
    found = []
    for name, value in query:
        if name == "name":
            found.append((name, value.removeprefix("eq:")))
        elif name == "tag":
            found.append((name, value.replace(".", "=", 1)))
        elif name in SEARCHED:
            found.append((name, value))
    return [[(IMAGE_TYPE, kind), *found] for kind in ("private", "shared")]


def own_images_path(query: Sequence[tuple[str, str]]) -> str:
    """Return the path of the service's own list of images."""
    return f"{OWN_IMAGES_PATH}?{urlencode(query, quote_via=quote)}"


def with_both_spellings(image: Image) -> Image:
    """Return an image whose tags are spelled with "=", as the service has them, and with "." as well."""
    return image._replace(tags=image.tags | {tag.replace("=", ".", 1) for tag in image.tags})


def has_batches(endpoint: str) -> bool:
    """Return whether members are to be changed in batches at an endpoint if nothing is configured.

    That is so on Huawei Cloud, whose documentation calls the native writes historical. Open Telekom Cloud's doesn't.
    """
    host = urlsplit(endpoint).hostname or ""
    return any(host.endswith(f".{domain}") for domain in HUAWEI_DOMAINS)


def is_full_ecs(image: Image | None) -> bool:
    """Return whether an image is one of a whole server, which few projects may use."""
    return image is not None and image.properties.get(FULL_ECS) == "true"


def interpret_own(step: Step, reply: Reply, now: datetime) -> Verdict:
    """Return what the answer to a BATCH, JOB or QUOTA means. Never raises. `now` is as for `glance.interpret`."""
    verdict = interpret(Step.ADD, "", "", reply, now)
    if not isinstance(reply, Response):
        return verdict
    if 200 <= reply.status < 300:
        document = None if reply.cut else parse_json(reply.body)
        plain = verdict._replace(members=(), maybe_done=False)
        return plain._replace(**READERS[step](document if isinstance(document, dict) else {}))
    code = CODES.get(code_in(reply.body))
    if code is not None and code.culprit is Culprit.API:
        return verdict._replace(kind=VerdictKind.UNSUPPORTED)
    return verdict


def _read_batch(document: dict[str, Any]) -> dict[str, Any]:
    job_id = document.get("job_id")
    if isinstance(job_id, str) and job_id and job_id.isprintable() and len(job_id) <= LONGEST_JOB_ID:
        return {"kind": VerdictKind.STARTED, "reason": "", "job_id": job_id}
    return {"kind": VerdictKind.UNCLEAR, "reason": "the answer has no job ID", "maybe_done": True}


def _read_job(document: dict[str, Any]) -> dict[str, Any]:
    status = str(document.get("status", "")).upper()
    if not status:
        return {"kind": VerdictKind.UNCLEAR, "reason": "the answer has no job's status"}
    return {"kind": VerdictKind.ENDED if status in ENDED else VerdictKind.RUNNING, "reason": ""}


def _read_quota(document: dict[str, Any]) -> dict[str, Any]:
    quotas = document.get("quotas")
    resources = quotas.get("resources") if isinstance(quotas, dict) else None
    for resource in resources if isinstance(resources, list) else []:
        if isinstance(resource, dict) and resource.get("type") == MEMBER_QUOTA:
            quota = resource.get("quota")
            if isinstance(quota, int) and quota > 0:
                return {"kind": VerdictKind.FOUND, "reason": "", "quota": quota}
    return {"kind": VerdictKind.UNCLEAR, "reason": "the answer has no quota of members"}


READERS = {Step.BATCH: _read_batch, Step.JOB: _read_job, Step.QUOTA: _read_quota}
