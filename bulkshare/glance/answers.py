"""What stands in the body of a success: members, images, times. Total: anything else is None."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from bulkshare.model import Image, Member
from bulkshare.text import clean

if TYPE_CHECKING:
    from bulkshare.model import Response

LONGEST = 255  # characters of a name or a property (the width of Glance's columns), and of a time
# A path with its query, as Glance writes it; a proxy may have put a path of its own before it.
NEXT_PAGE = re.compile(r"/(?:[^/?#][^?#]*/)?(v2/images\?[!-~]*)")


def json_of(body: bytes) -> Any:
    """Return what the body says, or None where it is no JSON."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError; 100,000 open brackets recurse
        return None


def member(document: Any, image_id: str) -> Member | None:
    """Return the member of this image that `document` describes, or None where it is something else."""
    if not isinstance(document, dict) or document.get("image_id") != image_id:
        return None
    member_id = document.get("member_id")
    if not isinstance(member_id, str):
        return None
    return Member(
        image_id,
        member_id,
        status=_text(document.get("status")),
        created_at=_time(document.get("created_at")),
        updated_at=_time(document.get("updated_at")),
        schema=_text(document.get("schema")),
    )


def image(document: Any) -> Image | None:
    """Return the image that `document` describes, or None where it is something else."""
    if not isinstance(document, dict) or not isinstance(document.get("id"), str):
        return None
    texts = {_shown(name): _shown(value) for name, value in document.items() if isinstance(value, str)}
    tags = document.get("tags")
    return Image(
        document["id"],
        name=texts.get("name"),
        status=texts.get("status"),
        visibility=texts.get("visibility"),
        owner=texts.get("owner"),
        created_at=_time(document.get("created_at")),
        tags=frozenset(_shown(tag) for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else frozenset(),
        properties=texts,
    )


def path_of_next(following: Any) -> str | None:
    """Return the path of the page that follows, below our endpoint; None where there is none or it is elsewhere."""
    found = NEXT_PAGE.fullmatch(following) if isinstance(following, str) else None
    return None if found is None or "#" in following else f"/{found[1]}"


def request_id(response: Response) -> str | None:
    """Return the ID under which the cloud's logs have the request."""
    value = response.headers.get("x-openstack-request-id") or response.headers.get("x-request-id")
    return clean(value, 64) if value else None


def _text(value: Any) -> str | None:
    return clean(value, LONGEST) if isinstance(value, str) else None


def _shown(value: str) -> str:
    """Return a text that is to be compared as it is, but shown as well."""
    return value if len(value) <= LONGEST and value.isprintable() else clean(value, LONGEST)


def _time(value: Any) -> datetime | None:
    """Parse an API time; one without a zone is UTC, as the API's documentation says."""
    return _parsed(value) if isinstance(value, str) and len(value) <= LONGEST else None


# They are of whole seconds, in which many members are made; the ledger, too, is quicker with one object for them.
@lru_cache(1024)
def _parsed(value: str) -> datetime | None:
    try:
        parsed = datetime.fromisoformat(value)
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
