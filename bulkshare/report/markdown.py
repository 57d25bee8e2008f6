"""Changes and comparisons as Markdown, for a merge request. Pure.

Names, IDs and reasons come from clouds and from lists that others write. Whatever they hold, each is shown as code: it
ends no cell, loads no picture and notifies no one.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bulkshare.report.changes import ACCEPTED, ADDED, REFUSED, REMOVED, closing_line
from bulkshare.report.text import by_name, hint_for, name_key, named_plan
from bulkshare.text import counted, escaped

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bulkshare.report.changes import Changes, ImageChanges
    from bulkshare.report.comparison import Comparison

MOST_OPEN = 50  # rows of a table that is not folded
MOST_CHARACTERS = 60_000  # of a document: a comment on GitHub may have 65,536
PLAIN = re.compile(r"[\w .:/+,()=@%&#!*<>$~^'\"?;\[\]{}-]*")  # what a code span shows as it is, also in a table
LONGEST_FRAME = 400  # characters around a table's rows
NOT_IN_ANY_LOOK = "what changes between this look and the run"

Row = tuple[str, ...]


def code(text: str) -> str:
    """Return a text as code in Markdown, for a line or a cell; nothing for an empty one."""
    shown = escaped(text)
    return f"`{shown}`" if shown and PLAIN.fullmatch(shown) else code_html(text)


def code_html(text: str) -> str:
    """Return a text as code, for both Markdown and HTML; nothing for an empty one."""
    shown = escaped(text)
    plain = " -" if "www" in shown.casefold() else " -."  # GitHub makes a link of www.anything
    entities = "".join(c if c.isalnum() or c in plain else f"&#{ord(c)};" for c in shown)
    return f"<code>{entities}</code>" if shown else ""


@dataclass(slots=True)
class _Document:
    """Lines of Markdown, at most `most` characters of them; what is left out is counted in rows."""

    most: float
    parts: list[str] = field(default_factory=list)
    used: int = 0
    left_out: int = 0

    def add(self, part: str) -> None:
        """Add a block, whatever its length."""
        self.parts.append(part)
        self.used += len(part) + 2

    def table(self, title: str, head: Row, rows: Sequence[Row], *, numbers: int = 0) -> None:
        """Add a table below its title, with as many rows as there is room for, folded if there are many.

        title: HTML, since Markdown is not read in what can be folded.
        numbers: how many columns, from the right, hold numbers.
        """
        lines: list[str] = []
        room = self.most - self.used - len(title) - LONGEST_FRAME
        for row in rows:
            line = _line(row)
            room -= len(line) + 1
            if room < 0:
                break
            lines.append(line)
        self.left_out += len(rows) - len(lines)
        if not lines:
            return
        marks = ("---",) * (len(head) - numbers) + ("--:",) * numbers
        table = "\n".join([_line(head), _line(marks), *lines])
        if len(lines) > MOST_OPEN:
            self.add(f"<details><summary>{title}: {counted(len(rows), 'row')}</summary>\n\n{table}\n\n</details>")
        else:
            self.add(f"{title}\n\n{table}")

    def conclude(self, command: str) -> None:
        """Say how many rows were left out, and which command has them."""
        if self.left_out:
            self.add(f"... and {counted(self.left_out, 'more row')}, left out here; `{command}` has all of them.")

    def text(self) -> str:
        """Return the document."""
        return "\n\n".join(self.parts) + "\n"


def _line(cells: Row) -> str:
    return f"| {' | '.join(cells)} |"


@dataclass(frozen=True, slots=True)
class Look:
    """What was found on one cloud: the changes, names by ID, and who looked ("user X of project Y")."""

    changes: Changes
    labels: Mapping[str, str] = field(default_factory=dict)
    account: str = ""


def render_markdown(looks: Sequence[Look], *, everything: bool = False, plan_file: str = "") -> str:
    """Return the changes on some clouds as one Markdown document: trouble first, then counts, then each image.

    Unless `everything` is set, it fits a comment of a merge request, and says how many rows it leaves out.
    """
    document = _Document(math.inf if everything else MOST_CHARACTERS)
    plan = looks[0].changes.plan
    document.add(f"## bulkshare diff: {code(plan)}")
    for look in looks:
        document.add(f"{code(look.changes.cloud)}: **{closing_line(look.changes)}**")
    for look in looks:
        _warn(document, look, plan=named_plan(code(plan), code(plan_file)))
    head = ("add", "accept", "decline", "reset", "remove", "make shared", "can't be done", "unknown", "as planned")
    counts = [_counts(look.changes) for look in looks]
    document.table("<b>Counts</b>", ("cloud", *head), counts, numbers=len(head))
    for look in looks:
        names = look.labels
        on = f" on {code_html(look.changes.cloud)}" if len(looks) > 1 else ""
        changed = [image for image in look.changes.images if image.any]
        changed.sort(key=name_key(names, lambda image: image.image_id))
        for image in changed:
            known = (image.image_id, names.get(image.image_id, ""))
            title = f"<b>Image</b> {' '.join(filter(None, map(code_html, known)))}{on}"
            document.table(title, ("", "project", "name"), list(_rows(image, names)))
    document.conclude("bulkshare diff --all --format markdown")
    for look in looks:
        by = f" as {code(look.account)}" if look.account else ""
        unchecked = "; ".join([*map(code, look.changes.not_checked), NOT_IN_ANY_LOOK])
        document.add(f"Looked at {code(look.changes.cloud)}{by}. Not checked: {unchecked}.")
    return document.text()


def _warn(document: _Document, look: Look, *, plan: str) -> None:
    """Add what a reviewer should see first."""
    changes, names = look.changes, look.labels
    on = f" on {code_html(changes.cloud)}"
    if changes.incomplete:
        document.add(f"<b>Incomplete{on}:</b> {code(changes.incomplete)}")
    refused = [
        (*_shown(image.image_id, names), *_shown(member_id, names), code(reason))
        for image in changes.images
        for reason, members in image.refused.items()
        for member_id in by_name(members, names)
    ]
    unknown = [
        (*_shown(image.image_id, names), f"{len(image.unknown):,}", code(image.unlisted))
        for image in changes.images
        if image.unlisted
    ]
    document.table(f"<b>{REFUSED} Can't be done</b>{on}", ("image", "name", "project", "name", "why"), refused)
    document.table(f"<b>? Unknown</b>{on}", ("image", "name", "projects", "why"), unknown)
    for hint in sorted({hint for why in _reasons(changes) if (hint := hint_for(why, plan))}):
        document.add(f"-&gt; {hint}")
    if changes.remove:
        images = counted(sum(bool(image.remove) for image in changes.images), "image")
        document.add(f"<b>{counted(changes.remove, 'member')} of {images} would be removed</b>{on}")


def _reasons(changes: Changes) -> set[str]:
    return {reason for image in changes.images for reason in (*image.refused, image.unlisted) if reason}


def _counts(changes: Changes) -> Row:
    numbers = (
        changes.add,
        changes.accept,
        changes.decline,
        changes.reset,
        changes.remove,
        changes.make_shared,
        changes.refused,
        changes.unknown,
        changes.as_planned,
    )
    return (code(changes.cloud), *(f"{number:,}" for number in numbers))


def _rows(image: ImageChanges, names: Mapping[str, str]) -> Iterable[Row]:
    if image.make_shared:
        yield (f"`{ACCEPTED}` private, will be made shared", "", "")
    added, accepted = set(image.add), set(image.accept)
    for member_id in by_name(image.add, names):
        yield (f"`{ADDED}` add{' and accept' if member_id in accepted else ''}", *_shown(member_id, names))
    for member_id in by_name((each for each in image.accept if each not in added), names):
        yield (f"`{ACCEPTED}` accept", *_shown(member_id, names))
    for member_id in by_name(image.decline, names):
        yield (f"`{ACCEPTED}` decline", *_shown(member_id, names))
    for member_id in by_name(image.reset, names):
        yield (f"`{ACCEPTED}` pending again", *_shown(member_id, names))
    for member_id in by_name(image.remove, names):
        yield (f"`{REMOVED}` remove", *_shown(member_id, names))


def _shown(known_id: str, names: Mapping[str, str]) -> Row:
    return code(known_id), code(names.get(known_id, ""))


def render_comparisons_markdown(comparisons: Sequence[Comparison]) -> str:
    """Return how some clouds differ from a plan as one Markdown document: what is missing first."""
    document = _Document(MOST_CHARACTERS)
    document.add(f"## bulkshare verify: {code(comparisons[0].plan)}")
    for found in comparisons:
        on, names = f" on {code_html(found.cloud)}", found.labels
        unlisted = [(*_shown(image_id, names), code(reason)) for image_id, reason in found.unlisted.items()]
        document.table(f"<b>Can't be listed</b>{on}", ("image", "name", "why"), unlisted)
        for title, pairs in (("Missing", found.missing), ("Extra", found.extra)):
            rows = [
                (*_shown(image_id, names), *_shown(member_id, names))
                for image_id in by_name(pairs, names)
                for member_id in by_name(pairs[image_id], names)
            ]
            document.table(f"<b>{title}</b>{on}", ("image", "name", "project", "name"), rows)
    head = ("planned", "present", "missing", "extra", "can't be listed")
    counts = [(code(found.cloud), *(f"{number:,}" for number in _numbers(found))) for found in comparisons]
    document.table("<b>Counts</b>", ("cloud", *head), counts, numbers=len(head))
    document.conclude("bulkshare verify --format json")
    return document.text()


def _numbers(found: Comparison) -> tuple[int, ...]:
    missing, extra = (sum(map(len, pairs.values())) for pairs in (found.missing, found.extra))
    return found.planned, found.present, missing, extra, len(found.unlisted)
