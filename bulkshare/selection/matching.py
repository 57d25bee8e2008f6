"""What a selector means: the query that asks for it, and which of the answers fit."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from bulkshare.selection.words import problem_at
from bulkshare.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bulkshare.model import Image, ImageSelector, Problem, Project, ProjectSelector

GLOB = re.compile(r"[*?\[]")
PAGE = 1000  # images: Glance's largest page by default (api_limit_max)
# What `GET /v2/images` takes for no image property: its own parameters, and the columns and methods of its images
# (dir() of glance.db.sqlalchemy.models.Image, Glance 33) that a text is not to be compared with. Some make it fail.
NOT_A_PROPERTY = re.compile(
    r"_.*|.*_(min|max)|changes-since|created_at|delete|deleted|deleted_at|get|id|items|iteritems|keys|limit|locations|"
    r"marker|member_status|members|metadata|min_disk|min_ram|name|next|os_hidden|owner|properties|protected|registry|"
    r"save|size|sort|sort_dir|sort_key|status|tag|tags|to_dict|update|updated_at|values|virtual_size|visibility"
)
NEVER = datetime.min.replace(tzinfo=UTC)
MOST_NAMED = 10  # projects in a problem


def image_query(selector: ImageSelector, own_project_id: str) -> list[tuple[str, str]]:
    """Return the query of GET /v2/images that gets all images a selector may mean, newest first, in pages.

    Visibility is of no matter: what can't be shared is found out, and told, once it is known what is meant.
    """
    query = [("status", selector.status)]
    if selector.owner != "any":
        query.append(("owner", _owner(selector, own_project_id)))
    if selector.name is not None and not GLOB.search(selector.name):
        # What stands before a colon is taken for an operator: debian:12 alone is a 400.
        query.append(("name", f"eq:{selector.name}" if ":" in selector.name else selector.name))
    query += [("tag", tag) for tag in sorted(selector.tags)]
    query += [(name, value) for name, value in selector.properties if not NOT_A_PROPERTY.fullmatch(name)]
    return [*query, ("sort_key", "created_at"), ("sort_dir", "desc"), ("limit", str(PAGE))]


def select_images(
    selector: ImageSelector, images: Iterable[Image], *, own_project_id: str, now: datetime
) -> list[Image]:
    """Return those images that are meant, newest first; of one time, the greater ID first, as Glance sorts them.

    With `per`, `latest` counts for each value of that property, and images that lack it are left out; all texts of an
    image are properties, its name, too. Where the age matters, images without a time of creation are left out.
    """
    owner = _owner(selector, own_project_id)
    since = NEVER if selector.newer_than_seconds is None else now - timedelta(seconds=selector.newer_than_seconds)
    fitting = {
        image.id: image
        for image in images
        if image.status == selector.status
        and owner in {"any", image.owner}
        and _is_named(selector.name, image.name)
        and selector.tags <= image.tags
        and all(image.properties.get(name) == value for name, value in selector.properties)
        and (image.created_at or NEVER) >= since
    }
    newest_first = sorted(fitting.values(), key=lambda image: (image.created_at or NEVER, image.id), reverse=True)
    return newest_first if selector.latest is None else _latest(newest_first, selector.latest, selector.per)


def select_projects(selector: ProjectSelector, projects: Iterable[Project], problems: list[Problem]) -> list[Project]:
    """Return those projects that are meant, by name; `projects` are of the selector's domain already.

    A name that is no pattern and fits several projects is a problem, and added to `problems`.
    """
    fitting = {
        project.id: project
        for project in projects
        if _is_named(selector.name, project.name)
        and selector.tags <= project.tags
        and selector.enabled in {None, project.enabled}
        and selector.parent in {None, project.parent_id}
    }
    found = sorted(fitting.values(), key=lambda project: (project.name, project.id))
    if len(found) > 1 and selector.name is not None and not GLOB.search(selector.name):
        named = ", ".join(f"{clean(p.id, 64)} of domain {clean(p.domain_id, 64)}" for p in found[:MOST_NAMED])
        more = f" and {len(found) - MOST_NAMED:,} more" if len(found) > MOST_NAMED else ""
        message = f"{len(found):,} projects have the name {clean(selector.name, 60)!r}: {named}{more}"
        problems.append(problem_at(selector, f"{message}; add `domain` or `parent`, or take an ID"))
    return found


def _owner(selector: ImageSelector, own_project_id: str) -> str:
    return own_project_id if selector.owner == "self" else selector.owner


def _is_named(wanted: str | None, name: str | None) -> bool:
    return wanted is None or (name is not None and fnmatchcase(name, wanted))


def _latest(newest_first: list[Image], latest: int, per: str | None) -> list[Image]:
    """Return the newest so many, for each value of `per` where that is given."""
    if per is None:
        return newest_first[:latest]
    taken: dict[str, int] = {}
    found = []
    for image in newest_first:
        value = image.properties.get(per)
        if value is not None and taken.setdefault(value, 0) < latest:
            taken[value] += 1
            found.append(image)
    return found
