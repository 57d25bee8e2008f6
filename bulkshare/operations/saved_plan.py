"""Saved plans: what `diff` showed, in a file, for `run` to do exactly that or nothing.

A file has, for each cloud, the endpoint and project it was made for and the pairs to be sent, grouped by what is wanted
of them. `run` asks each cloud again, and refuses if anything else would be sent.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

from bulkshare.errors import CloudChangedError, UsageError
from bulkshare.model import (
    Api,
    Block,
    CheckProjects,
    Entry,
    Limits,
    Notify,
    NotifyOn,
    Plan,
    RetryPolicy,
    Want,
    Webhook,
    WebhookFormat,
)
from bulkshare.operations.defaults import utc_now
from bulkshare.plan.load import SAVED_MARK
from bulkshare.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from bulkshare.model import Orders
    from bulkshare.operations.results import CloudResult


VERSION = 3
MOST_SHOWN = 5  # pairs in an error
LONGEST_NOTIFY_SECONDS = 86_400.0  # as in a plan


@dataclass(frozen=True, slots=True)
class SavedPart:
    """What is to be sent to one cloud, the clouds.yaml entry `cloud`, on behalf of project `project_id`.

    make_shared: images to be made `shared` first.
    fill: images that get as many members as their quota has room for.
    selected: images that the plan selected by their attributes; their status is not judged.
    unlisted: images whose members can't be listed. Their pairs are sent without knowing who is a member.
    """

    cloud: str | None
    endpoint: str
    project_id: str
    todo: tuple[Block, ...]
    make_shared: frozenset[str] = frozenset()
    fill: frozenset[str] = frozenset()
    selected: frozenset[str] = frozenset()
    unlisted: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """The content of a saved plan's file; see `Plan` for the fields."""

    name: str
    region: str | None
    limits: Limits
    retry: RetryPolicy
    api: Api
    parts: tuple[SavedPart, ...]
    names: Mapping[str, str] = field(default_factory=dict)
    strict: bool = False
    notify: Notify | None = None

    @property
    def plan(self) -> Plan:
        """A plan of exactly these pairs."""
        entries = tuple(
            Entry(
                (block.image_id,),
                tuple(block.member_ids),
                want=block.want & ~Want.ALREADY_MEMBER,
                accept_as_project=Want.AS_PROJECT in block.want,
                fill=block.image_id in part.fill,
                make_shared=block.image_id in part.make_shared,
                cloud=part.cloud,
            )
            for part in self.parts
            for block in part.todo
        )
        return Plan(
            self.name,
            entries,
            clouds=tuple(part.cloud for part in self.parts if part.cloud is not None),
            region=self.region,
            limits=self.limits,
            retry=self.retry,
            api=self.api,
            strict=self.strict,
            check_projects=CheckProjects.NEVER,
            names=self.names,
            notify=self.notify,
        )


def is_saved(raw: bytes) -> bool:
    """Return whether a file with these contents is a saved plan rather than a plan in YAML."""
    return SAVED_MARK.encode() in raw[:100]  # it is the first key


def save(path: Path, plan: Plan, results: Sequence[CloudResult]) -> None:
    """Save what the results of a dry run say is to be done. Raises `UsageError` if the file can't be written."""
    try:
        path.write_text(json.dumps(_document(plan, results), indent=1) + "\n", "utf-8")
    except OSError as error:
        raise UsageError(f"can't write {path}: {error.strerror}") from error


def exactly(plan: Plan, results: Sequence[CloudResult]) -> SavedPlan:
    """Return what the results of a dry run say is to be done, to do exactly that."""
    return _read(_document(plan, results))


def _document(plan: Plan, results: Sequence[CloudResult]) -> dict[str, Any]:
    return {
        SAVED_MARK: VERSION,
        "made_at": f"{utc_now():%Y-%m-%dT%H:%M:%SZ}",
        "plan": plan.name,
        "region": plan.region,
        "limits": asdict(plan.limits),
        "retry": asdict(plan.retry),
        "api": plan.api,
        "strict": plan.strict,
        "notify": None if plan.notify is None else {**asdict(plan.notify), "on": sorted(plan.notify.on)},
        "names": {known: name for result in results for known, name in _names(result).items()},
        "clouds": [
            {
                "cloud": result.cloud,
                "endpoint": result.account.endpoint,
                "project_id": result.account.project_id,
                "make_shared": list(result.to_set_shared),
                "fill": _ordered(result, lambda orders: orders.fill),
                "selected": _ordered(result, lambda orders: orders.selected),
                "unlisted": sorted(result.unlisted),
                "todo": _grouped(result.todo),
            }
            for result in results
            if result.account is not None
        ],
    }


def _ordered(result: CloudResult, has: Callable[[Orders], bool]) -> list[str]:
    """Return the images that something is to be sent for and whose orders say so."""
    images = dict.fromkeys(block.image_id for block in result.todo)
    return [image_id for image_id in images if image_id in result.orders and has(result.orders[image_id])]


def _names(result: CloudResult) -> dict[str, str]:
    """Return the known names of what is to be sent, by ID."""
    ids = {known for block in result.todo for known in (block.image_id, *block.member_ids)} if result.labels else ()
    return {known: result.labels[known] for known in sorted(ids) if result.labels.get(known)}


def _grouped(blocks: Iterable[Block]) -> list[tuple[list[str], int, list[str]]]:
    """Group the images to be shared with the same projects: in a migration that is nearly all of them."""
    images: dict[tuple[Want, tuple[str, ...]], list[str]] = {}
    for image_id, member_ids, want in blocks:
        images.setdefault((want, tuple(member_ids)), []).append(image_id)
    return [(image_ids, int(want), list(member_ids)) for (want, member_ids), image_ids in images.items()]


def load_saved(path: Path, raw: bytes) -> SavedPlan:
    """Read what `save` wrote to a file, given as `raw`. Raises `UsageError` if it is damaged or too new."""
    try:
        document = json.loads(raw.decode("utf-8"))
        if document[SAVED_MARK] != VERSION:
            raise UsageError(f"{path}: saved by another version of bulkshare; make a new one with `bulkshare diff`")
        return _read(document)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        raise UsageError(f"{path}: the saved plan is damaged; make a new one with `bulkshare diff`") from None


def _read(document: dict[str, Any]) -> SavedPlan:
    return SavedPlan(
        name=_name(document["plan"]),
        region=_text_or_none(document["region"]),
        limits=Limits(**_positive(document["limits"])),
        retry=RetryPolicy(**_positive(document["retry"])),
        api=Api(document["api"]),
        strict=_flag(document["strict"]),
        parts=tuple(_part(part) for part in document["clouds"]),
        names=_known_names(document["names"]),
        notify=_notify(document.get("notify")),
    )


def _known_names(names: dict[str, str]) -> dict[str, str]:
    "".join(chain.from_iterable(names.items())).encode()  # a TypeError for other values, and a ValueError as below
    return {known: clean(name) for known, name in names.items() if known}


def _name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9-]{1,100}", name):  # it becomes part of a file name, the lock's
        raise ValueError(name)
    return name


def _positive(numbers: dict[str, Any]) -> dict[str, Any]:
    for name, number in numbers.items():
        if number is None and name == "members_per_image":
            continue
        whole = isinstance(number, int) or name in {"rate", "base_seconds", "cap_seconds"}
        if not whole or number < 0 or (number == 0 and name != "members_per_image"):
            raise ValueError(name)
    return numbers


def _notify(notify: dict[str, Any] | None) -> Notify | None:
    if notify is None:
        return None
    webhook = notify["webhook"]
    if webhook is not None:
        webhook = Webhook(_text_or_none(webhook["from_env"]), _text_or_none(webhook["file"]))
    command, seconds = notify["command"], notify["timeout_seconds"]
    "\0".join(command).encode()  # a TypeError for other values, and a ValueError for half a surrogate pair
    if isinstance(command, str) or isinstance(seconds, bool) or not 0 < seconds <= LONGEST_NOTIFY_SECONDS:
        raise ValueError(notify)
    return Notify(
        tuple(command), webhook, WebhookFormat(notify["format"]), frozenset(map(NotifyOn, notify["on"])), seconds
    )


def _part(part: dict[str, Any]) -> SavedPart:
    cloud, endpoint, project_id = _text_or_none(part["cloud"]), part["endpoint"], part["project_id"]
    if not isinstance(endpoint, str) or not isinstance(project_id, str):
        raise TypeError(part)
    todo = tuple(block for group in part["todo"] for block in _blocks(group))
    orders = (_images(part, key) for key in ("make_shared", "fill", "selected", "unlisted"))
    return SavedPart(cloud, endpoint, project_id, todo, *orders)


def _images(part: dict[str, Any], key: str) -> frozenset[str]:
    images = part[key]
    if not isinstance(images, list) or not all(isinstance(image_id, str) for image_id in images):
        raise TypeError(part)
    return frozenset(images)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(value)
    return value


def _text_or_none(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError(value)
    return value


def _blocks(group: list[Any]) -> list[Block]:
    images, want, members = group
    if not isinstance(images, list) or not isinstance(members, list):
        raise TypeError(group)
    if not all(text and isinstance(text, str) for text in (*images, *members)):
        raise ValueError(group)
    "".join((*images, *members)).encode()  # a ValueError for half a surrogate pair
    if type(want) is not int or want not in range(sum(Want) + 1):
        raise ValueError(want)
    member_ids = tuple(members)
    return [Block(image_id, member_ids, Want(want)) for image_id in images]


def part_for(cloud: str | None, parts: Iterable[SavedPart]) -> SavedPart:
    """Return the part for a cloud. Raises `UsageError` if the saved plan has none for it."""
    known = {part.cloud: part for part in parts}
    if cloud not in known:
        names = ", ".join(name or "the OS_* variables" for name in known) or "none"
        raise UsageError(f"the saved plan is for another cloud: {names}; nothing was sent")
    return known[cloud]


def require_unchanged(expected: SavedPart, found: SavedPart) -> None:
    """Compare what was saved for a cloud with what would be sent now.

    Raises `UsageError` for another project or endpoint, and `CloudChangedError` if anything else would be sent, or if
    that can't be known.
    """
    if (expected.endpoint, expected.project_id) != (found.endpoint, found.project_id):
        raise UsageError(
            f"the saved plan is for project {expected.project_id} at {expected.endpoint}, and this is project "
            f"{found.project_id} at {found.endpoint}; nothing was sent"
        )
    changed = [f"image {image_id} visibility" for image_id in sorted(expected.make_shared ^ found.make_shared)]
    unlisted = found.unlisted - expected.unlisted
    pairs = _changed(expected.todo, found.todo)
    changed += (f"image {image_id} project {member_id}" for image_id, member_id in pairs if image_id not in unlisted)
    if changed:
        raise CloudChangedError(
            f"the cloud has changed since the plan was saved: {_first_of(changed)}; nothing was sent; look again with "
            "`bulkshare diff`"
        )
    if unlisted:
        images = _first_of([f"image {image_id}" for image_id in sorted(unlisted)])
        raise CloudChangedError(
            f"can't check whether the cloud has changed since the plan was saved: the members of {images} can't be "
            "listed now; nothing was sent; `bulkshare diff` shows why"
        )


def _first_of(changed: Sequence[str]) -> str:
    more = f" and {len(changed) - MOST_SHOWN:,} more" if len(changed) > MOST_SHOWN else ""
    return ", ".join(changed[:MOST_SHOWN]) + more


def _changed(before: Iterable[Block], after: Iterable[Block]) -> list[tuple[str, str]]:
    """Return the pairs that are in only one of the two, or of which something else is wanted.

    Compares image by image, so that it needs no set of all pairs.
    """
    was, now = _by_image(before), _by_image(after)
    changed: list[tuple[str, str]] = []
    for image_id in was | now:
        wanted, wants = _wants(was.get(image_id, ())), _wants(now.get(image_id, ()))
        if wanted != wants:
            members = (member_id for member_id in wanted | wants if wanted.get(member_id) != wants.get(member_id))
            changed += [(image_id, member_id) for member_id in members]
    return changed


def _by_image(blocks: Iterable[Block]) -> dict[str, list[Block]]:
    found: dict[str, list[Block]] = {}
    for block in blocks:
        found.setdefault(block.image_id, []).append(block)
    return found


def _wants(blocks: Iterable[Block]) -> dict[str, Want]:
    return {member_id: block.want for block in blocks for member_id in block.member_ids}
