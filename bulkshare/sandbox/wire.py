"""What the sandbox's two services exchange with its server: one request, one answer, and the ways to refuse.

Knows HTTP as words only: no sockets, no aiohttp. How a refusal becomes a body is each service's own affair.
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
class Ask:
    """One request to a service.

    `path` is below the service's root, begins with a slash (or is empty) and is unquoted as Latin-1, which is what
    WSGI hands to the real services. `query` keeps the order and the repeats. `headers` look-ups ignore case.
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
class Answer:
    """One answer of a service."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def adding(self, **headers: str) -> Answer:
        """Return this answer with more headers; an underscore in a name is a hyphen."""
        return replace(self, headers={**self.headers, **{name.replace("_", "-"): headers[name] for name in headers}})


class RefusalError(Exception):
    """A service says no. `detail` is a second sentence, which the image service's framework keeps apart."""

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


def answer_json(status: int, value: Any) -> Answer:
    """Return `value` as a JSON answer."""
    return Answer(status, json.dumps(value, ensure_ascii=False).encode(), {"Content-Type": JSON})


def title_of(status: int) -> str:
    """Return the words beside a status code, as both services say them."""
    if status == 413:
        return "Request Entity Too Large"  # the name of RFC 2616; later Python versions have a newer one
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def isotime(moment: datetime) -> str:
    """Write a UTC time as Glance does, in whole seconds."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
