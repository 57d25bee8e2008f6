"""The requests. IDs are quoted, so that no ID can change the path; must not know what may be answered."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from bulkshare.model import Request, Step

if TYPE_CHECKING:
    from collections.abc import Sequence

LIST_BOUND = 64 << 20  # bytes; a member takes about 210, so that is 300,000 members of one image
ACCEPTED = b'{"status": "accepted"}'
SHARED = b'[{"op": "replace", "path": "/visibility", "value": "shared"}]'
PATCH_TYPE = "application/openstack-images-v2.1-json-patch"


def request_for(step: Step, image_id: str, member_id: str = "", *, as_member: bool = False) -> Request:
    """Return the request of a step; FIND has one of its own. With `as_member` it is made in the member project."""
    members = _members_path(image_id)
    if step is Step.ADD:
        return Request("POST", members, f'{{"member": {json.dumps(member_id)}}}'.encode())
    if step is Step.LIST:
        return Request("GET", members, body_bound=LIST_BOUND)
    if step is Step.OPEN:
        return Request("PATCH", f"/v2/images/{quote(image_id, safe='')}", SHARED, content_type=PATCH_TYPE)
    member = f"{members}/{quote(member_id, safe='')}"
    if step is Step.ASK:
        return Request("GET", member)
    if step is Step.ACCEPT:
        return Request("PUT", member, ACCEPTED, project=member_id if as_member else None)
    if step is Step.REMOVE:
        return Request("DELETE", member)
    raise ValueError(f"{step} takes no image")


@lru_cache(1024)  # images at work at a time
def _members_path(image_id: str) -> str:
    return f"/v2/images/{quote(image_id, safe='')}/members"


def find_request(path: str) -> Request:
    """Return the request for a page of images: `path` is from `images_path`, `details_path` or the page before."""
    return Request("GET", path, body_bound=LIST_BOUND)


def images_path(query: Sequence[tuple[str, str]]) -> str:
    """Return the path that lists images by these filters; a name may be repeated."""
    return f"/v2/images?{urlencode(query, quote_via=quote)}" if query else "/v2/images"


def details_path(image_ids: Sequence[str], *, hidden: bool = False) -> str:
    """Return the path that tells what these images are; those that are hidden come only where they are asked for.

    Glance reads the IDs as a list with commas and double quotes: give it none that has one of them.
    """
    query = [("id", f"in:{','.join(image_ids)}"), ("limit", str(len(image_ids)))]
    return images_path([*query, ("os_hidden", "true")] if hidden else query)
