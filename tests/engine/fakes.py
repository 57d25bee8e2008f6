"""Fakes of the edges: a cloud without sockets, and an observer that records."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

import anyio

from bulkshare.model import Image, Outcome, Reply, Request, Response, Result, Step, Verdict
from bulkshare.model.events import (
    AlikeSettled,
    Answered,
    Event,
    ExtraMembersFound,
    ImageInspected,
    ImagesDone,
    ImageSetShared,
    MembersListed,
    PairsSettled,
    PhaseStarted,
    RemovalsAhead,
    RestSettled,
    RetryScheduled,
)

if TYPE_CHECKING:
    from collections.abc import Callable

PLAIN = {"status": "active", "visibility": "shared"}
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def response(status: int, document: Any = None, **headers: str) -> Response:
    """Return a Response with a JSON body."""
    body = b"" if document is None else json.dumps(document).encode()
    return Response(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def member_document(image_id: str, member_id: str, status: str = "pending", *, changes: int = 0) -> dict[str, str]:
    """Return a member as Glance writes it, changed so many times, once a second."""
    return {
        "image_id": image_id,
        "member_id": member_id,
        "status": status,
        "created_at": "2026-01-02T03:04:05Z",
        "updated_at": f"{NOW + timedelta(seconds=changes):%Y-%m-%dT%H:%M:%SZ}",
        "schema": "/v2/schemas/member",
    }


@dataclass
class FakeCloud:
    """A Transport with the members and their statuses in a dict.

    script: may answer, hang or raise before the cloud answers.
    images: attributes of images that differ from `PLAIN`.
    unlisted: images that a look-up does not find.
    quota: the most members of an image; None: any number.
    changes: how often a member was written, by pair, if it is `ticking`: then `updated_at` tells.
    """

    statuses: dict[tuple[str, str], str] = field(default_factory=dict)
    images: dict[str, dict[str, Any]] = field(default_factory=dict)
    unlisted: set[str] = field(default_factory=set)
    quota: int | None = None
    script: Callable[[Request, int], Reply | None] = lambda _request, _count: None
    ticking: bool = False
    changes: Counter[tuple[str, str]] = field(default_factory=Counter)
    latency_seconds: float = 0.01
    page: int = 1000
    members_page: int = 1000  # as Huawei Cloud has them
    sent: list[tuple[float, Request]] = field(default_factory=list)
    in_flight: Counter[str] = field(default_factory=Counter)
    most_in_flight: Counter[str] = field(default_factory=Counter)

    @property
    def members(self) -> set[tuple[str, str]]:
        """The pairs that are members; assigned ones are pending."""
        return set(self.statuses)

    @members.setter
    def members(self, pairs: set[tuple[str, str]]) -> None:
        self.statuses = dict.fromkeys(pairs, "pending")

    async def send(self, request: Request) -> Reply:
        """Answer as Glance would."""
        self.sent.append((anyio.current_time(), request))
        image_id = (*request.path.split("/"), "")[3]  # a probe and a search name no image
        member_id = request.path.partition("/members/")[2]
        if request.method == "POST":
            member_id = json.loads(request.body or b"")["member"]
        keys = ["all", image_id, f"pair {image_id} {member_id}" if member_id else f"{request.method} {request.path}"]
        for key in keys:
            self.in_flight[key] += 1
            self.most_in_flight[key] = max(self.most_in_flight[key], self.in_flight[key])
        try:
            await anyio.sleep(self.latency_seconds)
            return self.script(request, len(self.sent)) or self.answer(request)
        finally:
            self.in_flight.subtract(keys)

    def answer(self, request: Request) -> Reply:
        """Answer without delay."""
        path, _, query = request.path.partition("?")
        parts = path.split("/")[3:]
        if not parts:
            return self._find(dict(parse_qsl(query)))
        image_id, member_id = parts[0], parts[2] if len(parts) > 2 else ""
        image = {**PLAIN, **self.images.get(image_id, {})}
        if request.method == "PATCH":
            image["visibility"] = json.loads(request.body or b"")[0]["value"]
            self.images[image_id] = image
            return response(200, {"id": image_id, **image})
        if image["visibility"] != "shared":
            return response(403, {"message": f"Not allowed to do that to members of image {image_id}."})
        if request.method == "POST":
            return self._add(image_id, json.loads(request.body or b"")["member"])
        if not member_id:
            listed = [self._document(pair) for pair in sorted(self.statuses)]
            members = [member for member in listed if member["image_id"] == image_id]
            start = int(dict(parse_qsl(query)).get("marker", "0"))
            end = start + self.members_page
            info = {"next_marker": str(end)} if end < len(members) else {}
            return response(200, {"members": members[start:end], "page_info": info})
        return self._member(request, (image_id, member_id))

    def _add(self, image_id: str, member_id: str) -> Reply:
        attempted = sum(known == image_id for known, _ in self.statuses) + 1
        if self.quota is not None and attempted > self.quota:
            limit = f"Attempted: {attempted}, Maximum: {self.quota}:"
            return response(413, {"message": f"Image member limit exceeded for image {image_id}: {limit}"})
        if (image_id, member_id) in self.statuses:
            return response(409)
        self.write((image_id, member_id), "pending")
        return response(200, self._document((image_id, member_id)))

    def write(self, pair: tuple[str, str], status: str) -> None:
        """Set a member's status; it becomes a member if it is none."""
        self.statuses[pair] = status
        self.changes[pair] += self.ticking

    def _document(self, pair: tuple[str, str]) -> dict[str, str]:
        return member_document(*pair, self.statuses[pair], changes=self.changes[pair])

    def _member(self, request: Request, pair: tuple[str, str]) -> Reply:
        if pair not in self.statuses:
            return response(404, {"message": f"{pair[1]} not found in the member list of the image {pair[0]}."})
        if request.method == "DELETE":
            del self.statuses[pair]
            return response(204)
        if request.method == "PUT":
            self.write(pair, json.loads(request.body or b"")["status"])
        return response(200, self._document(pair))

    def _find(self, query: dict[str, str]) -> Reply:
        asked = query.get("id", "in:").removeprefix("in:").split(",")
        hidden, community = query.get("os_hidden") == "true", query.get("visibility") == "community"
        described = (
            {"id": image_id, **PLAIN, **self.images.get(image_id, {})}
            for image_id in sorted({*asked} - {""} - self.unlisted)
            if image_id > query.get("marker", "")
        )
        found = [
            image
            for image in described
            if bool(image.get("os_hidden")) is hidden
            and (image["visibility"] == "community" and image.get("owner", "ours") != "ours") is community
        ]
        size = min(self.page, int(query.get("limit", "1000")))
        document: dict[str, Any] = {"images": found[:size]}
        if len(found) >= size > 0:
            following = {**query, "marker": found[size - 1]["id"]}
            document["next"] = f"/image/v2/images?{urlencode(following)}"
        return response(200, document)

    def count(self, method: str, *, among: str = "") -> int:
        """Return how many requests with this method came whose path contains `among`."""
        return sum(1 for _, request in self.sent if request.method == method and among in request.path)


@dataclass
class RecordingObserver:
    """An Observer that records events."""

    phases: list[tuple[str, int]] = field(default_factory=list)
    shown: list[Outcome] = field(default_factory=list)
    rests: list[tuple[str, int, Result, str]] = field(default_factory=list)
    retried: list[RetryScheduled] = field(default_factory=list)
    answers: list[tuple[Step, Verdict]] = field(default_factory=list)
    listings: dict[str, Verdict] = field(default_factory=dict)
    images: list[Image] = field(default_factory=list)
    extras: list[tuple[str, list[str]]] = field(default_factory=list)
    ahead: list[tuple[str, list[str]]] = field(default_factory=list)
    set_shared: dict[str, Verdict] = field(default_factory=dict)
    done: int = 0

    def notify(self, event: Event) -> None:  # noqa: C901  one case per event
        """See the port."""
        match event:
            case Answered(step, _, _, verdict):
                self.answers.append((step, verdict))
            case RetryScheduled():
                self.retried.append(event)
            case PhaseStarted(name, total):
                self.phases.append((name, total))
            case PairsSettled(outcomes):
                self.shown.extend(outcomes)
            case AlikeSettled(groups):
                self.shown.extend(outcome for alike in groups for outcome in alike.outcomes())
            case RestSettled(image_id, count, result, reason):
                self.rests.append((image_id, count, result, reason))
            case MembersListed(image_id, verdict):
                self.listings[image_id] = verdict
            case ImageInspected(image):
                self.images.append(image)
            case RemovalsAhead(image_id, member_ids):
                self.ahead.append((image_id, list(member_ids)))
            case ExtraMembersFound(image_id, member_ids):
                self.extras.append((image_id, list(member_ids)))
            case ImageSetShared(image_id, verdict):
                self.set_shared[image_id] = verdict
            case ImagesDone(count):
                self.done += count
