"""What `GET /v2/images` asks for: Glance's filters, order and pages, as plain tests and sorts over images.

Not here: filters on the second checksum, `os_hash_algo` and `os_hash_value`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import eq, ge, gt, le, lt, ne
from typing import TYPE_CHECKING, Any

from bulkshare.sandbox.policy import owns
from bulkshare.sandbox.records import MEMBER_STATUSES, VISIBILITIES
from bulkshare.sandbox.wire import RefusalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from bulkshare.sandbox.records import Image, Token

    Test = Callable[[Image], bool]

PAGE, LARGEST_PAGE = 25, 1000  # limit_param_default and api_limit_max in glance-api.conf, their defaults
SORT_KEYS = ("name", "status", "container_format", "disk_format", "size", "id", "created_at", "updated_at")
COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {"gt": gt, "gte": ge, "lt": lt, "lte": le, "eq": eq, "neq": ne}
FLAGS = frozenset({"os_hidden", "protected"})
TIMES = frozenset({"created_at", "updated_at"})
IN_COLUMNS = frozenset({"name", "id", "status", "container_format", "disk_format"})
OTHER_COLUMNS = frozenset({"owner", "min_disk", "min_ram", "size", "checksum"})
NUMBERS = frozenset({"min_disk", "min_ram", "size"})
NOT_HERE = frozenset({"os_hash_algo", "os_hash_value"})
NOT_FILTERS = frozenset(
    {"limit", "marker", "member_status", "tag", "visibility", "sort", "sort_key", "sort_dir", "deleted"}
)
IN_VALUE = re.compile(r'"((?:[^"\\]|\\.)*)"(?:,|$)|([^",]+)(?:,|$)')


@dataclass(frozen=True, slots=True)
class ListQuery:
    """A list request that makes sense. `order` has (column, descending) pairs and is total."""

    visibility: str | None
    member_status: str
    tags: frozenset[str]
    tests: Sequence[Test]
    order: Sequence[tuple[str, bool]]
    marker: str | None
    limit: int

    @classmethod
    def parse(cls, query: Sequence[tuple[str, str]]) -> ListQuery:
        """Read the parameters; of a repeated one the last counts, but for tag and the sorting ones.

        Raises `RefusalError` as Glance answers to nonsense.
        """
        params = dict(query)
        member_status = params.get("member_status", "accepted")
        if member_status not in {*MEMBER_STATUSES, "all"}:
            raise RefusalError(400, f"Invalid status: {member_status}")
        visibility = params.get("visibility")
        if visibility and visibility not in {*VISIBILITIES, "all"}:
            raise RefusalError(400, f"Invalid visibility value: {visibility}")
        return cls(
            visibility=visibility,
            member_status=member_status,
            tags=frozenset(value.strip() for name, value in query if name == "tag"),
            tests=_read_tests(params),
            order=_read_order(query),
            marker=params.get("marker"),
            limit=_read_limit(params.get("limit")),
        )

    def matches(self, token: Token, image: Image) -> bool:
        """Whether the list for this token has the image."""
        return self._offers(token, image) and self.tags <= set(image.tags) and all(test(image) for test in self.tests)

    def page(self, images: Iterable[Image], after: Image | None) -> Sequence[Image]:
        """Sort the images and return up to `limit` of them after `after`, which needs not be among them."""
        ordered = list(images)
        if after is not None and after not in ordered:
            ordered.append(after)
        for column, descending in reversed(self.order):
            ordered.sort(key=lambda image: _sortable(image, column), reverse=descending)
        start = ordered.index(after) + 1 if after is not None else 0
        return ordered[start : start + self.limit]

    def _offers(self, token: Token, image: Image) -> bool:
        """Whether visibility lets the list have it: not for a pending member, unless asked for that status."""
        if not token.is_admin and image.visibility not in {"public", "community"} and not owns(token, image):
            row = image.member(token.project_id) if image.visibility == "shared" else None
            if row is None or self.member_status not in {row.status, "all"}:
                return False
        if self.visibility is None:  # without the filter, another's community images are left out, for an admin too
            return image.visibility != "community" or owns(token, image)
        return self.visibility in {image.visibility, "all"}


def _read_tests(params: Mapping[str, str]) -> Sequence[Test]:
    """Return a test for each filter; what is no column is an image property."""
    tests: list[Test] = []
    for name, value in {"os_hidden": "false", **params}.items():
        if name in FLAGS:
            tests.append(_is_flag(name, value))
        elif name == "changes-since":
            raise RefusalError(400, 'The "changes-since" filter is no longer available on v2.')
        elif name in TIMES:
            tests.append(_compares_time(name, value))
        elif name in IN_COLUMNS:
            tests.append(_is_one_of(name, _read_values(value)))
        elif name[:-4] in NUMBERS and name.endswith(("_min", "_max")):
            tests.append(_is_within(name, value))
        elif name in NOT_HERE:
            raise RefusalError(501, "The sandbox can't do this.")
        elif name in OTHER_COLUMNS:
            tests.append(_is_one_of(name, {value}))
        elif name not in NOT_FILTERS:
            tests.append(_has_property(name, value))
    return tests


def _is_one_of(column: str, values: set[str]) -> Test:
    return lambda image: str(getattr(image, column)) in values


def _is_within(name: str, value: str) -> Test:
    """Test a number against `size_min` or the like; one that is not known is within no bounds."""
    column, compare = name[:-4], ge if name.endswith("_min") else le
    try:
        bound = int(value)
    except ValueError:
        raise RefusalError(400, "Unable to filter on a range with a non-numeric value.") from None
    return lambda image: getattr(image, column) is not None and compare(getattr(image, column), bound)


def _has_property(name: str, value: str) -> Test:
    return lambda image: image.properties.get(name) == value


def _is_flag(column: str, value: str) -> Test:
    flag = value.lower() if column == "os_hidden" else value
    if flag not in {"true", "false"}:
        known = "Valid values are 'true' or 'false'."
        raise RefusalError(400, f"Invalid value '{flag}' for '{column}' filter. {known}")
    return lambda image: getattr(image, column) is (flag == "true")


def _compares_time(column: str, value: str) -> Test:
    operator, text = _split_operator(value)
    try:
        threshold = datetime.fromisoformat(text)
    except ValueError:
        raise RefusalError(400, f'Bad "{column}" query filter format. Use ISO 8601 DateTime notation.') from None
    if operator not in COMPARISONS:
        raise RefusalError(400, "Unable to filter on a unknown operator.")
    threshold = threshold if threshold.tzinfo else threshold.replace(tzinfo=UTC)
    return lambda image: COMPARISONS[operator](getattr(image, column), threshold)


def _split_operator(value: str) -> tuple[str, str]:
    """Split `gt:2026-...` or `in:a,b`. A time has colons of its own; no operator means eq."""
    left, colon, right = value.partition(":")
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return (left, right) if colon else ("eq", value)
    return "eq", value


def _read_values(value: str) -> set[str]:
    """Return the values a column may have: one, or those of `in:a,"b,c"`."""
    operator, wanted = _split_operator(value)
    if operator == "eq":
        return {wanted}
    if operator != "in":
        raise RefusalError(400, f"Unable to filter by unknown operator '{operator}'.")
    if wanted.replace('\\"', "").count('"') % 2:
        raise RefusalError(400, f"Invalid filter value {wanted}. The quote is not closed.")
    return {quoted or plain for quoted, plain in IN_VALUE.findall(wanted)}


def _read_order(query: Sequence[tuple[str, str]]) -> Sequence[tuple[str, bool]]:
    keys, directions = _read_sorting(query)
    for key in keys:
        if key not in SORT_KEYS:
            known = ", ".join(SORT_KEYS)
            raise RefusalError(400, f"Invalid sort key: {key}. It must be one of the following: {known}.")
    for direction in directions:
        if direction not in {"asc", "desc"}:
            raise RefusalError(400, f"Invalid sort direction: {direction}")
    if len(directions) > 1 and len(directions) != len(keys):
        raise RefusalError(400, "Number of sort dirs does not match the number of sort keys")
    default = directions[0] if len(directions) == 1 else "desc"
    order = dict(zip(keys, directions if len(directions) > 1 else [default] * len(keys), strict=True))
    for key in ("created_at", "id"):  # makes the order total, so that a marker has one place in it
        order.setdefault(key, default)
    return [(key, direction == "desc") for key, direction in order.items()]


def _read_sorting(query: Sequence[tuple[str, str]]) -> tuple[list[str], list[str]]:
    """Return sort keys and directions in either of Glance's two spellings."""
    params = dict(query)
    if "sort" not in params:
        keys = [value.strip() for name, value in query if name == "sort_key"]
        return keys, [value.strip() for name, value in query if name == "sort_dir"]
    if "sort_key" in params or "sort_dir" in params:
        raise RefusalError(400, "Old and new sorting syntax cannot be combined")
    pairs = [part.partition(":") for part in params["sort"].strip().split(",")]
    return [key.strip() for key, _, _ in pairs], [way.strip() or "desc" for _, _, way in pairs]


def _read_limit(text: str | None) -> int:
    if text is None:
        return PAGE
    try:
        limit = int(text)
    except ValueError:
        raise RefusalError(400, "limit param must be an integer") from None
    if limit < 0:
        raise RefusalError(400, "limit param must be positive")
    return min(limit, LARGEST_PAGE)


def _sortable(image: Image, column: str) -> Any:
    value = getattr(image, column)
    return value if value is not None else (0 if column == "size" else "")
