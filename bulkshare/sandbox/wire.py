"""What the sandbox's services exchange with its server: requests, responses and refusals.

HTTP as data: no sockets, no aiohttp. Each service words its own refusals.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

JSON = "application/json"
SERVER_ERROR = "The server has either erred or is incapable of performing the requested operation."


@dataclass(frozen=True, slots=True)
class Request:
    """One request to a service.

    `path` is relative to the service's root, starts with a slash (or is empty) and is unquoted as Latin-1, as WSGI
    passes it to the real services. `query` keeps order and repetitions. Look-ups in `headers` ignore case.
    """

    method: str
    path: str
    query: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def content_type(self) -> str:
        """The media type of the body, without its parameters."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip()


@dataclass(frozen=True, slots=True)
class Response:
    """One response of a service."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def with_headers(self, **headers: str) -> Response:
        """Return this response with more headers; an underscore in a name stands for a hyphen."""
        return replace(self, headers={**self.headers, **{name.replace("_", "-"): headers[name] for name in headers}})


class RefusalError(Exception):
    """A service refuses. `detail` is a second sentence, which the image service's framework keeps apart."""

    def __init__(
        self, status: int, explanation: str, *, detail: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(explanation)
        self.status = status
        self.explanation = explanation
        self.detail = detail
        self.headers = dict(headers or {})


def unsupported_media_type(given: str, detail: str, *, headers: Mapping[str, str] | None = None) -> RefusalError:
    """Return the image service's refusal of a body's media type."""
    message = f"The request media type {given} is not supported by this server.\n"
    return RefusalError(415, message, detail=detail, headers=headers)


def json_response(status: int, value: Any) -> Response:
    """Return `value` as a JSON response."""
    return Response(status, json.dumps(value, ensure_ascii=False).encode(), {"Content-Type": JSON})


def title_of(status: int) -> str:
    """Return the reason phrase of a status code, as both services have it."""
    if status == 413:
        return "Request Entity Too Large"  # as in RFC 2616; later Python versions have another
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def isotime(moment: datetime) -> str:
    """Format a UTC time as Glance does, in whole seconds."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
