"""Random clouds, random plans for them, and what others do in a cloud."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from tests.lives.model import PRUNE_LIMITS, PlanReader

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from random import Random

    from tests.lives.model import Document, Meaning
    from tests.lives.world import ServedCloud, State

IMAGE_NAMES = ("base-1", "base-2", "app-1", "app-2")
PROJECT_NAMES = ("team-a", "team-b", "team-c", "team-d", "shop-a", "shop-b", "lab", "ops")
STATUSES = ("pending", "pending", "accepted", "rejected")  # of members
PLAN = "golden.yaml"


def new_uuid(random: Random) -> UUID:
    """Return a UUID that the seed determines."""
    return UUID(int=random.getrandbits(128), version=4)


# Clouds


def furnish(random: Random, clouds: Iterable[ServedCloud]) -> None:
    """Put the same images and projects into all clouds, with members of their own in each."""
    images = [
        (
            str(new_uuid(random)),
            name,
            random.sample(("golden", "new"), random.randint(0, 2)),
            random.choice(("shared",) * 7 + ("private", "private", "public", "community")),
            random.choice(("active",) * 8 + ("deactivated", "queued")),
        )
        for name in random.sample(IMAGE_NAMES, random.randint(2, 4))
    ]
    projects = [
        (new_uuid(random).hex, name, random.sample(("gold", "eu"), random.randint(0, 2)))
        for name in random.sample(PROJECT_NAMES, random.randint(2, 8))
    ]
    quota = random.choice((-1, -1, -1, random.randint(1, 8)))
    hired = [random.random() < 0.6 for _ in projects] if random.random() < 0.2 else None
    for served in clouds:
        served.cloud.member_quota = quota
        customers = served.cloud.add_domain("customers")
        for project_id, name, tags in projects:
            domain = customers if name.startswith("team") else None
            enabled = random.random() < 0.9
            served.cloud.add_project(name, project_id=project_id, tags=tags, domain=domain, enabled=enabled)
        served.hire_tenant(projects[0][0])
        if hired is not None:
            served.hire([project_id for (project_id, _, _), has_role in zip(projects, hired, strict=True) if has_role])
        for age, (image_id, name, tags, visibility, status) in enumerate(images):
            served.add_image(image_id, name, age, tags, visibility=visibility, status=status)
            for project_id, _, _ in projects:
                if random.random() < 0.35:
                    served.set_member(image_id, project_id, random.choice(STATUSES))


def described(name: str, state: State) -> Iterator[str]:
    """Yield a cloud as lines of text."""
    roles = "admin" if state.roles is None else " ".join(sorted(state.roles))
    yield f"# cloud {name}: quota {state.quota}, our project {state.us}, roles {roles}"
    for project in state.projects.values():
        tags = ",".join(sorted(project.tags))
        yield f"#   project {project.id} {project.name} of {project.domain} [{tags}] enabled={project.enabled}"
    for image in state.images.values():
        tags = ",".join(sorted(image.tags))
        yield f"#   image {image.id} {image.name} [{tags}] {image.visibility} {image.status}"
        yield from (f"#     member {member_id} {status}" for member_id, status in image.members.items())


def interfere(random: Random, served: ServedCloud) -> str:
    """Let others change something in a cloud; return what, in words."""
    cloud, state = served.cloud, served.state()
    image_id = random.choice(list(state.images)) if state.images else ""
    image = cloud.images.get(image_id)
    project = cloud.projects[random.choice(list(state.projects))]
    what = random.choice(
        (
            "join",
            "leave",
            "leave",
            "leave",
            "status",
            "status",
            "visibility",
            "activity",
            "new",
            "delete",
            "tag",
            "quota",
        )
    )
    if what == "tag":
        project.tags = () if project.tags else ("gold",)
        return f"project {project.id} has tags {project.tags}"
    if what == "quota":
        cloud.member_quota = random.choice((-1, random.randint(1, 8)))
        return f"quota {cloud.member_quota}"
    if what == "new" or image is None:
        image_id, name, age = str(new_uuid(random)), random.choice(IMAGE_NAMES), -len(cloud.images)
        served.add_image(image_id, name, age, ["golden"], visibility="shared", status="active")
        return f"new image {image_id} {name} [golden]"
    if what == "visibility":
        image.visibility = random.choice(("shared", "shared", "private", "public"))
        return f"image {image_id} is {image.visibility}"
    if what == "activity":
        image.status = random.choice(("active", "active", "deactivated"))
        return f"image {image_id} is {image.status}"
    if what == "delete" and random.random() < 0.3:
        cloud.delete_image(image_id)
        return f"image {image_id} is deleted"
    members = list(state.images[image_id].members)
    member_id = project.id if what == "join" or not members else random.choice(members)
    status = None if what == "leave" else random.choice(STATUSES)
    served.set_member(image_id, member_id, status)
    return f"image {image_id} member {member_id} is {status or 'gone'}"


# Plans


@dataclass(frozen=True)
class PlanFiles:
    """A plan, its lists by file name, and the options that it is used with."""

    document: Document
    lists: dict[str, list[str]]
    prune_all: bool
    prune_limit: str | None

    @property
    def options(self) -> list[str]:
        """The options of `run` and `diff`."""
        limit = [] if self.prune_limit is None else ["--prune-limit", self.prune_limit]
        return ["--prune", *limit] if self.prune_all else limit

    @property
    def texts(self) -> dict[str, str]:
        """The contents of all files, by name. JSON is YAML."""
        lists = {name: "".join(f"{line}\n" for line in lines) for name, lines in self.lists.items()}
        return {PLAN: json.dumps(self.document, indent=1) + "\n", **lists}

    def meaning(self, cloud: str, state: State) -> Meaning:
        """Return what it wants of a cloud. Raises `RefusedPlanError`."""
        reader = PlanReader(self.document, self.lists, cloud, state)
        return reader.meaning(prune_all=self.prune_all, prune_limit=self.prune_limit)


@dataclass
class PlanMaker:
    """Draws a plan for clouds, of which `state` is one."""

    random: Random
    state: State
    clouds: Sequence[str]
    lists: dict[str, list[str]] = field(default_factory=dict)

    def make(self) -> PlanFiles:
        """Return a plan."""
        random = self.random
        share = [self._entry(number) for number in range(random.randint(1, 3))]
        groups: Document = {}
        if self._maybe(0.3):
            groups["projects"] = {"teams": self._projects("list-group")}
            share[0]["projects"].append({"group": "teams"})
        if self._maybe(0.15):
            groups["images"] = {"all": self._images()}
            share[-1]["images"].append({"group": "all"})
        document = {
            "version": 1,
            "name": "golden",
            **({"clouds": list(self.clouds)} if len(self.clouds) > 1 else {"cloud": self.clouds[0]}),
            **({"check_projects": "never"} if self._maybe(0.15) else {}),
            **({"prune_limit": random.choice((*PRUNE_LIMITS, "0.5", "100%"))} if self._maybe(0.7) else {}),
            **({"strict": True} if self._maybe(0.2) else {}),
            "limits": {
                "rate": 5000,
                "concurrency": random.choice((1, 2, 16)),
                "per_image": random.choice((1, 4)),
                **({"members_per_image": random.choice((0, 2, 3, 5, 8))} if self._maybe(0.3) else {}),
            },
            "retry": {"attempts": 3, "base": "2ms", "cap": "4ms"},
            **({"groups": groups} if groups else {}),
            "share": share,
        }
        limit = random.choice((*PRUNE_LIMITS, "100%")) if self._maybe(0.3) else None
        return PlanFiles(document, self.lists, self._maybe(0.1), limit)

    def _maybe(self, probability: float) -> bool:
        return self.random.random() < probability

    def _entry(self, number: int) -> Document:
        entry: Document = {"images": self._images(), "projects": self._projects(f"list-{number}")}
        for key, probability, value in (
            ("except", 0.3, self._few_projects()),
            ("accept", 0.35, self.random.choice((True, True, "force"))),
            ("make_shared", 0.3, True),
            ("on_quota", 0.3, "fill"),
            ("prune", 0.4, True),
            ("keep", 0.2, self._few_projects()),
            ("prune_limit", 0.15, self.random.choice(tuple(PRUNE_LIMITS))),
            ("cloud", 0.3 if len(self.clouds) > 1 else 0, self.random.choice(self.clouds)),
        ):
            if self._maybe(probability):
                entry[key] = value
        return entry

    def _images(self) -> list[Any]:
        """Return items for a list of images."""
        random, known = self.random, list(self.state.images)
        selector: Mapping[str, Any] = random.choice(
            (
                {"tag": "golden", "allow_empty": True},
                {"name": "base-*", "allow_empty": True},
                {"name": "*", "latest": 2},
                {"tag": "new", "latest": 1, "allow_empty": True},
                {"status": "deactivated", "allow_empty": True},
                {"name": random.choice(IMAGE_NAMES), "allow_empty": self._maybe(0.8)},
            )
        )
        if self._maybe(0.3):
            return [selector]
        chosen: list[Any] = random.sample(known, random.randint(1, min(3, len(known)))) if known else []
        if self._maybe(0.03) or not chosen:
            chosen.append(str(new_uuid(random)))  # which no cloud has
        return [*chosen, selector] if self._maybe(0.15) else chosen

    def _projects(self, name: str) -> list[Any]:
        """Return items for a list of projects; some may be in a file of this name."""
        random, known = self.random, list(self.state.projects)
        selectors: list[Mapping[str, Any]] = [
            {"tag": "gold", "allow_empty": True},
            {"name": random.choice(PROJECT_NAMES), "allow_empty": True},
        ]
        if self.state.roles is None:  # a domain is looked up, which takes an admin
            selectors += [
                {"domain": "customers", "allow_empty": self._maybe(0.8)},
                {"domain": "customers", "name": "team-*", "enabled": "any", "allow_empty": True},
            ]
        selector = random.choice(selectors)
        if self._maybe(0.2):
            return [selector]
        chosen: list[Any] = random.sample(known, random.randint(1, len(known)))
        if self._maybe(0.1):
            chosen.append(new_uuid(random).hex)  # which no cloud has
        if self._maybe(0.3):
            half = len(chosen) // 2
            self.lists[f"{name}.txt"] = chosen[half:]
            chosen = [*chosen[:half], {"file": f"{name}.txt"}]
        return [*chosen, selector] if self._maybe(0.2) else chosen

    def _few_projects(self) -> list[Any]:
        known = list(self.state.projects)
        if self._maybe(0.3):
            return [{"tag": "eu", "allow_empty": True}]
        return list(self.random.sample(known, self.random.randint(1, min(2, len(known)))))
