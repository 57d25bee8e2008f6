"""The sandbox's image service: versions, tokens, routes, members, and refusals in the words of Glance 33.

Answers as a real Glance was observed to, bodies included. It supports images and their members; not the download of
image data, imports, tasks, metadata definitions and schemas.
"""

from __future__ import annotations

import html
import json
import re
import uuid
from typing import TYPE_CHECKING, Any

from bulkshare.sandbox.cloud import MEMBER_STATUSES
from bulkshare.sandbox.images import FOUR_BYTE, Images, find_image, may_change, owns, read_json, require
from bulkshare.sandbox.wire import JSON, SERVER_ERROR, RefusalError, Response, isotime, json_response, title_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bulkshare.sandbox.cloud import Cloud, Image, MemberRow, Token
    from bulkshare.sandbox.wire import Request

    Action = Callable[[Request, Token], Awaitable[Response]]


# Members

LONGEST_MEMBER = 255  # characters; the column's width


class Members:
    """The members API of one cloud. Every method returns a response or raises `RefusalError`."""

    def __init__(self, cloud: Cloud, pause: Callable[[], Awaitable[None]]) -> None:
        self._cloud = cloud
        self._pause = pause

    async def add(self, request: Request, token: Token, image_id: str) -> Response:
        """POST .../members."""
        member_id = _named_member(read_json(request.body))
        image = self._image(token, image_id)
        if image.visibility != "shared":
            raise RefusalError(403, f"Not allowed to create members for image {image_id}.")
        require("add_member", allowed=may_change(token, image))
        self._check_quota(image)
        if not isinstance(member_id, str) or "\0" in member_id or len(member_id) > LONGEST_MEMBER:
            raise RefusalError(500, SERVER_ERROR)
        if image.member(member_id) is not None:
            raise RefusalError(409, f"Member {member_id} is duplicated for image {image_id}")
        if FOUR_BYTE.search(member_id):
            raise RefusalError(400, "Member can't contain 4 byte unicode characters.")
        await self._pause()
        return json_response(200, _view(image, image.insert(member_id, self._cloud.clock())))

    async def list(self, _: Request, token: Token, image_id: str) -> Response:
        """GET .../members: all for the owner and admins, a member sees only itself. Never paginated."""
        await self._pause()
        image = self._image(token, image_id)
        if image.visibility != "shared":
            reason = "Only shared images have members."
            raise RefusalError(403, f"Not allowed to list members for image {image_id}: {reason}")
        everything = token.is_admin or owns(token, image)
        rows = (row for row in image.rows.values() if everything or row.member_id == token.project_id)
        members = [_view(image, row) for row in rows for _copy in range(row.copies)]
        return json_response(200, {"members": members, "schema": "/v2/schemas/members"})

    async def show(self, _: Request, token: Token, image_id: str, member_id: str) -> Response:
        """GET .../members/{member}."""
        await self._pause()
        image = self._image(token, image_id)
        if image.visibility != "shared":
            raise RefusalError(404, "Only shared images have members.")
        return json_response(200, _view(image, self._row(token, image, member_id)))

    async def update(self, request: Request, token: Token, image_id: str, member_id: str) -> Response:
        """PUT .../members/{member}: the member itself sets the status; the owner may not."""
        body = read_json(request.body)
        if not isinstance(body, dict):
            raise RefusalError(400, 'Expected a status in the form: {"status": "status"}')
        if "status" not in body:
            raise RefusalError(400, "Status not specified")
        await self._pause()
        image = self._image(token, image_id)
        if image.visibility != "shared":
            raise RefusalError(403, f"Not allowed to update members for image {image_id}.")
        row = self._row(token, image, member_id)
        is_member = "member" in token.roles and not owns(token, image)
        require("modify_member", allowed=token.is_admin or is_member)
        if body["status"] not in MEMBER_STATUSES:
            raise RefusalError(400, 'Incorrect request: Status must be "pending", "accepted" or "rejected".')
        if row.status != body["status"]:
            row.status, row.updated_at = body["status"], self._cloud.clock()
        return json_response(200, _view(image, row))

    async def remove(self, _: Request, token: Token, image_id: str, member_id: str) -> Response:
        """DELETE .../members/{member}."""
        await self._pause()
        image = self._image(token, image_id)
        if image.visibility != "shared":
            raise RefusalError(403, f"Not allowed to delete members for image {image_id}.")
        row = self._row(token, image, member_id)
        require("delete_member", allowed=may_change(token, image))
        image.remove(row)
        return Response(204)

    def _image(self, token: Token, image_id: str) -> Image:
        image = find_image(self._cloud, token, image_id)
        if image is None:
            raise RefusalError(404, f"Image {image_id} not found.")
        return image

    def _row(self, token: Token, image: Image, member_id: str) -> MemberRow:
        row = image.member(member_id)
        if row is None or not (token.is_admin or owns(token, image) or row.member_id == token.project_id):
            raise RefusalError(404, f"{member_id} not found in the member list of the image {image.id}.")
        return row

    def _check_quota(self, image: Image) -> None:
        attempted, maximum = image.member_count + 1, self._cloud.member_quota
        if 0 <= maximum < attempted:
            limit = (
                "The limit has been exceeded on the number of allowed image members for this image. "
                f"Attempted: {attempted}, Maximum: {maximum}"
            )
            raise RefusalError(413, f"Image member limit exceeded for image {image.id}: {limit}:")


def _named_member(body: Any) -> Any:
    """Return the member in the body: anything but an empty value."""
    if not isinstance(body, dict):
        raise RefusalError(400, 'Expected a member in the form: {"member": "image_id"}')
    if "member" not in body:
        raise RefusalError(400, "Member to be added not specified")
    if not body["member"]:
        raise RefusalError(400, "Member can't be empty")
    return body["member"]


def _view(image: Image, row: MemberRow) -> dict[str, str]:
    return {
        "member_id": row.member_id,
        "image_id": image.id,
        "status": row.status,
        "created_at": isotime(row.created_at),
        "updated_at": isotime(row.updated_at),
        "schema": "/v2/schemas/member",
    }


# The service

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

    endpoint: its own URL, without version.
    auth_url: Keystone's URL.
    pause: awaited once per request with a valid token, for the latency of a real server.
    """

    def __init__(self, cloud: Cloud, *, endpoint: str, auth_url: str, pause: Callable[[], Awaitable[None]]) -> None:
        self._cloud = cloud
        self._endpoint = endpoint
        self._auth_url = auth_url
        self._images = Images(cloud, pause, endpoint)
        self._members = Members(cloud, pause)

    async def respond(self, request: Request) -> Response:
        """Respond to a request; never raises."""
        version, _, path = request.path.lstrip("/").partition("/")
        if request.method == "OPTIONS":
            return Response(200)
        if version == "healthcheck":
            return Response(200, b"OK", {"Content-Type": "text/plain; charset=UTF-8"})
        if version not in PREFIXES:
            return self._versions(200 if version == "versions" else 300)
        token = self._cloud.token(request.headers.get("X-Auth-Token"))
        if token is None:
            return self.refuse(request, RefusalError(401, UNAUTHORIZED))
        try:
            response = await self._dispatch(request, token, path)
        except RefusalError as refusal:
            return self.refuse(request, refusal)
        return response.with_headers(x_openstack_request_id=_request_id(request))

    def refuse(self, request: Request, refusal: RefusalError) -> Response:
        """Return a refusal as WebOb does for Glance: HTML, JSON or text, by the request's Accept header."""
        status = f"{refusal.status} {title_of(refusal.status)}"
        headers = dict(refusal.headers)
        if refusal.status == 401:
            headers["WWW-Authenticate"] = f'Keystone uri="{self._auth_url}"'
        else:
            headers["x-openstack-request-id"] = _request_id(request)
        if request.method == "HEAD":
            return Response(refusal.status, b"", {**headers, "Content-Type": "text/html; charset=UTF-8"})
        offer = _preferred(request.headers.get("Accept", ""))
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
        return Response(refusal.status, body.encode(), {**headers, "Content-Type": kind})

    async def _dispatch(self, request: Request, token: Token, path: str) -> Response:
        if not path:
            if request.path.endswith("/"):
                raise RefusalError(404, NOT_FOUND)
            return Response(302, b"", {"Location": f"{self._endpoint}{request.path}/"})
        actions = self._actions(path)
        action = actions.get(request.method)
        if action is None:
            message = f"The method {request.method} is not allowed for this resource. "
            raise RefusalError(405, message, headers={"Allow": ", ".join(actions)})
        if request.body and request.method in {"GET", "DELETE"} and path != "images":
            raise RefusalError(400, "A body is not expected with this request.")
        return await action(request, token)

    def _actions(self, path: str) -> dict[str, Action]:
        """Return the actions at a path by method, in the order of the Allow header."""
        images, members = self._images, self._members
        match path.split("/"):
            case ["images"]:
                return {"GET": images.list, "POST": images.create}
            case ["images", image] if image:
                return {
                    "GET": lambda request, token: images.show(request, token, image),
                    "PATCH": lambda request, token: images.change(request, token, image),
                    "DELETE": lambda request, token: images.delete(request, token, image),
                }
            case ["images", image, "file"] if image:
                return {"PUT": lambda request, token: images.upload(request, token, image), "GET": _not_implemented}
            case ["images", image, "members"] if image:
                return {
                    "GET": lambda request, token: members.list(request, token, image),
                    "POST": lambda request, token: members.add(request, token, image),
                }
            case ["images", image, "members", member] if image and member:
                return {
                    "GET": lambda request, token: members.show(request, token, image, member),
                    "PUT": lambda request, token: members.update(request, token, image, member),
                    "DELETE": lambda request, token: members.remove(request, token, image, member),
                }
            case _:
                raise RefusalError(404, NOT_FOUND)

    def _versions(self, status: int) -> Response:
        versions = [
            {
                "id": f"v{version}",
                "status": "CURRENT" if version == CURRENT else "SUPPORTED",
                "links": [{"rel": "self", "href": f"{self._endpoint}/v2/"}],
            }
            for version in VERSIONS
        ]
        return json_response(status, {"versions": versions})


async def _not_implemented(_request: Request, _token: Token) -> Response:
    raise RefusalError(501, "The sandbox can't do this.")


def _request_id(request: Request) -> str:
    """Return the client's request ID, or a new one."""
    known = request.headers.get("X-Openstack-Request-Id") or f"req-{uuid.uuid4()}"
    return known if known.startswith("req-") else f"req-{known}"


def _sentence(explanation: str, detail: str) -> str:
    # WebOb has separate templates for 405 and 415.
    tail = "" if explanation.startswith(("The method ", "The request media type ")) else "\n\n"
    return f"{explanation}<br /><br />\n{detail}{tail}"


def _preferred(accept: str) -> str:
    """Return which of HTML and JSON the Accept header prefers, or text/plain if neither."""
    best, best_quality = "text/plain", 0.0
    for offer in ("text/html", JSON):
        quality = _quality(accept, offer)
        if quality > best_quality:
            best, best_quality = offer, quality
    return best


def _quality(accept: str, offer: str) -> float:
    """Return the q of the most specific range of `accept` that matches `offer`; 0 if none does."""
    qualities = {}
    for part in accept.split(","):
        media, _, parameters = part.partition(";")
        found = re.search(r"\bq=([0-9.]+)", parameters)
        qualities[media.strip().lower()] = float(found[1]) if found else 1.0
    ranges = (offer, f"{offer.partition('/')[0]}/*", "*/*")
    return next((qualities[media] for media in ranges if media in qualities), 0.0)
