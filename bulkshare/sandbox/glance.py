"""The sandbox's image service: versions, tokens, routes, and refusals worded as Glance 33 words them.

Follows what a real Glance was seen to answer, bodies included. It has images and their members; not the download of
image data, imports, tasks, metadata definitions and schemas.
"""

from __future__ import annotations

import html
import json
import re
import uuid
from typing import TYPE_CHECKING

from bulkshare.sandbox.images import Images
from bulkshare.sandbox.members import Members
from bulkshare.sandbox.wire import JSON, Answer, RefusalError, answer_json, title_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bulkshare.sandbox.records import Token
    from bulkshare.sandbox.store import Cloud
    from bulkshare.sandbox.wire import Ask

    Action = Callable[[Ask, Token], Awaitable[Answer]]

VERSIONS = ("2.15", "2.13", "2.12", "2.11", "2.10", "2.9", "2.8", "2.17", *(f"2.{minor}" for minor in range(7, -1, -1)))
CURRENT = "2.17"
PREFIXES = frozenset({"v2", *(f"v{version}" for version in VERSIONS)})
UNAUTHORIZED = (
    "This server could not verify that you are authorized to access the document you requested. Either you supplied "
    "the wrong credentials (e.g., bad password), or your browser does not understand how to supply the credentials "
    "required."
)
NOT_FOUND = "The resource could not be found."
BREAK, TAG = re.compile(r"<br.*?>", re.IGNORECASE), re.compile(r"<.*?>", re.DOTALL)


class Glance:
    """The image service of one cloud.

    `endpoint` is its own address without version, `auth_url` Keystone's. `pause` is awaited once in every request that
    gets past its token: it is the time that a real server would take.
    """

    def __init__(self, cloud: Cloud, *, endpoint: str, auth_url: str, pause: Callable[[], Awaitable[None]]) -> None:
        self._cloud = cloud
        self._endpoint = endpoint
        self._auth_url = auth_url
        self._images = Images(cloud, pause, endpoint)
        self._members = Members(cloud, pause)

    async def answer(self, ask: Ask) -> Answer:
        """Answer a request; never raises."""
        version, _, path = ask.path.lstrip("/").partition("/")
        if ask.method == "OPTIONS":
            return Answer(200)
        if version == "healthcheck":
            return Answer(200, b"OK", {"Content-Type": "text/plain; charset=UTF-8"})
        if version not in PREFIXES:
            return self._versions(200 if version == "versions" else 300)
        token = self._cloud.token(ask.headers.get("X-Auth-Token"))
        if token is None:
            return self.refuse(ask, RefusalError(401, UNAUTHORIZED))
        try:
            answer = await self._dispatch(ask, token, path)
        except RefusalError as refusal:
            return self.refuse(ask, refusal)
        return answer.adding(x_openstack_request_id=_request_id(ask))

    def refuse(self, ask: Ask, refusal: RefusalError) -> Answer:
        """Word a refusal as WebOb does for Glance: HTML, JSON or text, as the request's Accept wants it."""
        status = f"{refusal.status} {title_of(refusal.status)}"
        headers = dict(refusal.headers)
        if refusal.status == 401:
            headers["WWW-Authenticate"] = f'Keystone uri="{self._auth_url}"'
        else:
            headers["x-openstack-request-id"] = _request_id(ask)
        if ask.method == "HEAD":
            return Answer(refusal.status, b"", {**headers, "Content-Type": "text/html; charset=UTF-8"})
        offer = _preferred(ask.headers.get("Accept", ""))
        if offer == JSON:
            message = _sentence(refusal.explanation, refusal.detail)
            body = json.dumps({"message": message, "code": status, "title": title_of(refusal.status)})
        elif offer == "text/html":
            inner = _sentence(html.escape(refusal.explanation), html.escape(refusal.detail))
            head = f"<html>\n <head>\n  <title>{status}</title>\n </head>\n"
            body = f"{head} <body>\n  <h1>{status}</h1>\n  {inner}\n </body>\n</html>"
        else:
            text = _sentence(refusal.explanation, refusal.detail).replace("\n", " ")
            body = f"{status}\n\n{TAG.sub('', BREAK.sub(chr(10), text))}"
        kind = offer if offer == JSON else f"{offer}; charset=UTF-8"
        return Answer(refusal.status, body.encode(), {**headers, "Content-Type": kind})

    async def _dispatch(self, ask: Ask, token: Token, path: str) -> Answer:
        if not path:
            if ask.path.endswith("/"):
                raise RefusalError(404, NOT_FOUND)
            return Answer(302, b"", {"Location": f"{self._endpoint}{ask.path}/"})
        actions = self._actions(path)
        action = actions.get(ask.method)
        if action is None:
            message = f"The method {ask.method} is not allowed for this resource. "
            raise RefusalError(405, message, headers={"Allow": ", ".join(actions)})
        if ask.body and ask.method in {"GET", "DELETE"} and path != "images":
            raise RefusalError(400, "A body is not expected with this request.")
        return await action(ask, token)

    def _actions(self, path: str) -> dict[str, Action]:
        """Return what can be done at a path, by method, in the order of the header Allow."""
        images, members = self._images, self._members
        match path.split("/"):
            case ["images"]:
                return {"GET": images.list, "POST": images.create}
            case ["images", image] if image:
                return {
                    "GET": lambda ask, token: images.show(ask, token, image),
                    "PATCH": lambda ask, token: images.change(ask, token, image),
                    "DELETE": lambda ask, token: images.delete(ask, token, image),
                }
            case ["images", image, "file"] if image:
                return {"PUT": lambda ask, token: images.upload(ask, token, image), "GET": _not_implemented}
            case ["images", image, "members"] if image:
                return {
                    "GET": lambda ask, token: members.list(ask, token, image),
                    "POST": lambda ask, token: members.add(ask, token, image),
                }
            case ["images", image, "members", member] if image and member:
                return {
                    "GET": lambda ask, token: members.show(ask, token, image, member),
                    "PUT": lambda ask, token: members.update(ask, token, image, member),
                    "DELETE": lambda ask, token: members.remove(ask, token, image, member),
                }
            case _:
                raise RefusalError(404, NOT_FOUND)

    def _versions(self, status: int) -> Answer:
        versions = [
            {
                "id": f"v{version}",
                "status": "CURRENT" if version == CURRENT else "SUPPORTED",
                "links": [{"rel": "self", "href": f"{self._endpoint}/v2/"}],
            }
            for version in VERSIONS
        ]
        return answer_json(status, {"versions": versions})


async def _not_implemented(_ask: Ask, _token: Token) -> Answer:
    raise RefusalError(501, "The sandbox can't do this.")


def _request_id(ask: Ask) -> str:
    """Return the ID the client gave its request, or a new one."""
    known = ask.headers.get("X-Openstack-Request-Id") or f"req-{uuid.uuid4()}"
    return known if known.startswith("req-") else f"req-{known}"


def _sentence(explanation: str, detail: str) -> str:
    # WebOb has templates of their own for 405 and 415.
    tail = "" if explanation.startswith(("The method ", "The request media type ")) else "\n\n"
    return f"{explanation}<br /><br />\n{detail}{tail}"


def _preferred(accept: str) -> str:
    """Return which of HTML and JSON the header Accept prefers, or text/plain where it wants neither."""
    best, best_quality = "text/plain", 0.0
    for offer in ("text/html", JSON):
        quality = _quality(accept, offer)
        if quality > best_quality:
            best, best_quality = offer, quality
    return best


def _quality(accept: str, offer: str) -> float:
    """Return the q of the range of `accept` that fits `offer` most exactly; 0 where none does."""
    qualities = {}
    for part in accept.split(","):
        media, _, parameters = part.partition(";")
        found = re.search(r"\bq=([0-9.]+)", parameters)
        qualities[media.strip().lower()] = float(found[1]) if found else 1.0
    ranges = (offer, f"{offer.partition('/')[0]}/*", "*/*")
    return next((qualities[media] for media in ranges if media in qualities), 0.0)
