"""Steps of a life that need no plan: what an operator or a tenant does in between, and the questions they ask.

Each is checked as a run is: what it has to do is written as the orders of a plan, and `foresee` says the rest.
"""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import yaml

from tests.lives.checks import Pair, Row
from tests.lives.life import OUTPUTS, UNDISTURBED, Disturbance, Life, Task
from tests.lives.model import OPEN_TO_ALL, PlanReader, RefusedPlanError, Wanted, foresee
from tests.lives.plans import IMAGE_NAMES, PLAN, PROJECT_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.lives.life import Change
    from tests.lives.model import Meaning
    from tests.lives.world import ImageState, State

PACE = ("--rate", "5000", "--concurrency", "4")
AN_ID = 32  # characters, at least; no name and no selector is so long
MEMBER_RESULTS, GONE_RESULTS = frozenset({"shared", "accepted", "reset"}), frozenset({"removed", "absent"})


class LifeWithJobs(Life):
    """A life with plans, and with all that is done without one."""

    @property
    def _any(self) -> dict[Callable[[], object], int]:
        return {
            **super()._any,
            self._share: 3,
            self._unshare: 2,
            self._undo: 8,
            self._offboard: 2,
            self._accept: 2,
            self._import: 1,
            self._who: 1,
            self._what: 1,
            self._audit: 2,
        }

    # --- steps -------------------------------------------------------------------------------------------------------

    def _share(self) -> None:
        name, state = self._choose_cloud()
        images, projects = self._arguments(state)
        accept, make_shared = self._random.random() < 0.4, self._random.random() < 0.3
        entry = {"accept": accept, "make_shared": make_shared}
        options = [*["--accept"] * accept, *["--make-shared"] * make_shared]
        args = ["share", *images, *(word for project in projects for word in ("--to", project)), *options]
        self._job(name, args, self._adhoc(state, images, projects, entry))

    def _unshare(self) -> None:
        name, state = self._choose_cloud()
        images, projects = self._arguments(state)
        if state.roles is not None:  # who is no admin may see disabled projects by name, if they have a role there
            projects = self._random.sample(list(state.projects), 1)
        orders = self._adhoc(state, images, projects, {}, enabled="any")
        if orders is not None:
            orders = {image_id: Wanted(gone=wanted.members) for image_id, wanted in orders.items()}
        args = ["unshare", *images, *(word for project in projects for word in ("--from", project))]
        self._job(name, args, orders)

    def _offboard(self) -> None:
        """Take a project out of all images, and check what is certified."""
        name, state = self._choose_cloud()
        project = self._random.choice(list(state.projects.values()))
        may_ask = state.roles is None or project.id in state.roles  # for a name
        gone = frozenset({project.id})
        orders = {
            image.id: Wanted(gone=gone) for image in state.images.values() if project.id in visible_members(image)
        }
        file = f"certificate-{len(self.history)}.json"
        asked = self._random.choice((project.id, project.name)) if may_ask else project.id
        code = self._job(
            name, ["offboard", asked, "--certificate", file], orders, outputs=([], ["-v"], ["--log-format=json"])
        )
        left = [image.id for image in self._states()[name].images.values() if project.id in visible_members(image)]
        if code in {0, 1}:
            said = json.loads((self._folder / file).read_text())
            after = {each["image_id"] for each in said["clouds"][0]["after"]["memberships"]}
            assert after == set(left), f"the certificate says {after}, and {left} are left"
            assert said["complete"] == (code == 0), f"exit {code}, and complete: {said['complete']}"
        assert code != 0 or not left, f"offboarded, and still a member of {left}"

    def _accept(self) -> None:
        """Accept as a tenant what is pending."""
        name, state = self._choose_cloud()
        tenant = self._clouds[name].tenant
        if tenant is None or not tenant[1].enabled:
            return
        project = tenant[1].id
        orders = {
            image.id: Wanted(frozenset({project}), accept=frozenset({project}), selected=True)
            for image in state.images.values()
            if visible_members(image).get(project) == "pending"
        }
        self._job(f"tenant-{name}", ["accept"], orders)

    def _undo(self) -> None:
        """Undo a run, most often the last one, after others have perhaps changed something."""
        if not self._runs:
            return
        if self._random.random() < 0.4:
            self._others()
        keys = [key for key, run in self._runs.items() if run["plan"] != "accept"]
        if not keys:
            return
        key = keys[0] if self._random.random() < 0.7 else self._random.choice(keys)
        run, name = self._runs[key], self._cloud_of(key)
        force, unfinished = self._random.random() < 0.2, self._random.random() < 0.7
        task = self._of_undo(key, force=force)
        if task.in_doubt:  # after a lost answer or a kill, neither the run nor the model knows who added a member
            return
        if run["state"] != "finished" and not unfinished:
            task = Task(None)
        options = [*["--force"] * force, *["--unfinished"] * unfinished]
        newest = len(self._clouds) == 1 and key == next(iter(self._newest(run["plan"]).values()))
        asked = self._random.choice((key, run["plan"])) if newest else key
        args = ["undo", asked, *options, "--os-cloud", name]
        self._preview(args, task)
        self._work(args, task, self._disturbance(0.15))

    def _job(
        self, login: str, args: list[str], orders: Meaning | None, *, outputs: Sequence[list[str]] = OUTPUTS
    ) -> int:
        """Run a command without a plan, perhaps stop it, and verify the plan then."""
        name = login.removeprefix("tenant-")
        task = Task(None if orders is None else {name: orders})
        args = [*args, "--os-cloud", login, *PACE]
        if login == name:
            self._preview(args, task)
        code = self._work(args, task, self._disturbance(0.15), outputs)
        if self._random.random() < 0.3:
            self._verify()
        return code

    def _preview(self, args: list[str], task: Task) -> None:
        """Let some commands first say what they would do."""
        if task.in_doubt or self._random.random() < 0.8:
            return
        marks = self._marks()
        ended = self._call(*args, "--dry-run")
        self._check_nothing_written(marks, "a dry run")
        expected = task.refusal
        if task.orders is not None:
            states = self._states()
            todos = [todo for name, orders in task.orders.items() for todo in foresee(orders, states[name]).values()]
            in_part = task.in_part or any(todo.problems for todo in todos)
            expected = 11 if in_part else 10 if any(todo.changes for todo in todos) else 0
        assert ended.code == expected, f"a dry run exits {ended.code}, not {expected}"

    def _disturbance(self, probability: float) -> Disturbance:
        if self._random.random() < probability:
            return Disturbance(self._random.randint(2, 10), stop=self._random.choice((signal.SIGKILL, signal.SIGTERM)))
        return UNDISTURBED

    # --- steps that only look ----------------------------------------------------------------------------------------

    def _import(self) -> None:
        """Make a plan of what is shared, which says what is, and of which nothing is to be done."""
        marks, states = self._marks(), self._states()
        clouds = [word for name in states for word in ("--os-cloud", name)]
        ended = self._call("import", "-o", "imported.yaml", "--force", *clouds, *PACE)
        there = {name: self._known_members(state) for name, state in states.items()}
        if not any(there.values()):
            assert ended.code == 2, f"there is nothing to import, and it exits {ended.code}"
            return
        assert ended.code == 0, f"import exits {ended.code}"
        document = yaml.safe_load((self._folder / "imported.yaml").read_text())
        named = document.get("clouds", [document.get("cloud")])  # a cloud without members is left out
        for name, state in states.items():
            if name not in named and not there[name]:
                continue
            said = PlanReader(document, {}, name, state).meaning(prune_all=False, prune_limit=None)
            members = {image_id: wanted.members for image_id, wanted in said.items()}
            assert members == there[name], f"imported: {members}, there are {there[name]}"
        ended = self._call("diff", "imported.yaml", "--json")
        assert ended.code == 0, f"diff of what was imported exits {ended.code}"
        self._check_nothing_written(marks, "import")

    def _who(self) -> None:
        name, state = self._choose_cloud()
        if state.images:
            image = self._random.choice(list(state.images.values()))
            self._ask(["who", image.id], name, state, lambda pair: pair[0] == image.id)

    def _what(self) -> None:
        name, state = self._choose_cloud()
        project = self._random.choice(list(state.projects))
        self._ask(["what", project], name, state, lambda pair: pair[1] == project)

    def _ask(self, question: list[str], name: str, state: State, is_asked: Callable[[Pair], bool]) -> None:
        """Ask the cloud, and the ledger, and compare the answers with what is there and what runs have seen."""
        marks = self._marks()
        ended = self._call(*question, "--cloud", "--json", "--os-cloud", name, *PACE)
        assert ended.code in {0, 11}, f"{question[0]} --cloud exits {ended.code}"
        said = json.loads(ended.out)
        assert ended.code == (11 if said["unlisted"] else 0), f"{question[0]} --cloud exits {ended.code}"
        members = {pair_of(row): row["status"] for row in said["access"] if row["state"] == "member"}
        there = {
            (image.id, member_id): status
            for image in state.images.values()
            for member_id, status in visible_members(image).items()
            if is_asked((image.id, member_id))
        }
        assert members == there, f"{question[0]} --cloud says {members}, there are {there}"
        known = self._last_seen(is_asked)
        ended = self._call(*question, "--json", *["--history"] * (self._random.random() < 0.5))
        expected = 0 if known else 2 if self._has_ledger else 4
        assert ended.code == expected, f"{question[0]} exits {ended.code}, and the ledger has {known}"
        if known:
            endpoints = self._endpoints()
            access = {
                (endpoints[row["endpoint"]], *pair_of(row)): row["state"] for row in json.loads(ended.out)["access"]
            }
            assert access.keys() == known.keys(), f"{question[0]} knows {access}, runs have seen {known}"
            for pair, states in known.items():
                assert access[pair] in states, f"{question[0]} says {access[pair]} of {pair}, runs have seen {states}"
        self._check_nothing_written(marks, question[0])

    def _audit(self) -> None:
        """Audit, and find exactly what the plan doesn't say, and what is not as it says."""
        marks, orders = self._marks(), self._of_plan().orders
        pending_for = self._random.choice(("7d", "7d", "0s"))
        ended = self._call("audit", PLAN, "--format", "json", "--pending-for", pending_for, *PACE)
        self._check_nothing_written(marks, "audit")
        if orders is None:
            assert ended.code == 2, f"the plan does not fit, and audit exits {ended.code}"
            return
        document = json.loads(ended.out)
        for (name, state), said in zip(self._states().items(), document["clouds"], strict=True):
            found = {kind: set[Pair]() for kind in ("unplanned", "missing", "disabled", "unknown")}
            for row in document["findings"]:
                if row["endpoint"] == said["endpoint"] and row["finding"] in found:
                    found[row["finding"]].add(pair_of(row))
            foreseen = self._to_be_found(orders[name], state)
            if state.roles is not None:  # who is no admin knows some of them
                assert found["disabled"] <= self._disabled(state), f"audit finds {found}"
                found["disabled"] = set()
            assert found == foreseen, f"audit finds {found}, there are {foreseen}"
        unchecked = any(said["not_checked"] for said in document["clouds"])
        expected = 11 if unchecked else 10 if document["findings"] else 0
        assert ended.code == expected, f"audit exits {ended.code}, not {expected}"

    def _disabled(self, state: State) -> set[Pair]:
        """Return the members that are disabled projects."""
        return {
            (image.id, each)
            for image in state.images.values()
            for each in visible_members(image).keys() & state.projects.keys()
            if not state.projects[each].enabled
        }

    def _to_be_found(self, orders: Meaning, state: State) -> dict[str, set[Pair]]:
        checked = self._plan.document.get("check_projects") != "never" and state.roles is None
        found = {kind: set[Pair]() for kind in ("unplanned", "missing", "disabled", "unknown")}
        for image in state.images.values():
            wanted, there = orders.get(image.id, Wanted()), visible_members(image)
            found["unplanned"] |= {(image.id, each) for each in there.keys() - wanted.members - wanted.kept}
            if image.visibility not in OPEN_TO_ALL:
                missing = wanted.members - there.keys() - {image.owner}
                found["missing"] |= {(image.id, each) for each in missing}
            if checked:
                found["unknown"] |= {(image.id, each) for each in there.keys() - state.projects.keys()}
        if checked:
            found["disabled"] = self._disabled(state)
        return found

    # --- what they are for -------------------------------------------------------------------------------------------

    def _choose_cloud(self) -> tuple[str, State]:
        name = self._random.choice(list(self._clouds))
        return name, self._clouds[name].state()

    def _arguments(self, state: State) -> tuple[list[str], list[str]]:
        """Return images and projects as they are named on a command line."""
        random, images, projects = self._random, list(state.images), list(state.projects)
        by_id = random.sample(images, random.randint(1, min(3, len(images)))) if images else ["base-1"]
        others = random.choice((["base-*"], [random.choice(IMAGE_NAMES)], ["tag=golden"], ["name=*,latest=1"]))
        chosen = random.choice((by_id, by_id, others))
        some = random.sample(projects, random.randint(1, len(projects)))
        names = random.choice((["team-*"], [random.choice(PROJECT_NAMES)], ["tag=gold"]))
        return chosen, random.choice((some, some, names))

    def _adhoc(self, state: State, images: list[str], projects: list[str], entry: Row, **more: Any) -> Meaning | None:
        """Return what arguments mean, with the settings of an entry; None if they match nothing."""
        project_items = [each if isinstance(each, str) else {**each, **more} for each in map(item, projects)]
        document = {"share": [{"images": [*map(item, images)], "projects": project_items, **entry}]}
        try:
            return PlanReader(document, {}, "", state).meaning(prune_all=False, prune_limit=None)
        except RefusedPlanError:
            return None

    def _of_undo(self, key: str, *, force: bool) -> Task:
        """Return what takes back a run: what it has changed, as far as it is still as the run has left it."""
        name = self._cloud_of(key)
        state = self._clouds[name].state()
        orders: dict[str, Wanted] = {}
        left = False
        changes = [change for change in self._changes if change.cloud == name]
        own = [change for change in changes if change.run == key]
        in_doubt = self._runs[key]["state"] != "finished" or any(change.in_doubt for change in own)
        quota = max((wanted.quota or 0 for wanted in self._orders[key].values()), default=0)
        unchecked = key in self._unchecked
        for change in own:
            (image_id, member_id), image = change.pair, state.images.get(change.pair[0])
            later = [each for each in changes[changes.index(change) + 1 :] if each.pair == change.pair]
            later = [each for each in later if each.run != key]
            in_doubt = in_doubt or any(each.in_doubt for each in later)
            if image is None or image.visibility != "shared":
                left = True
                continue
            now = image.members.get(member_id)
            if is_gone(change, now):
                continue
            changed = now is not None and (now, image.changed_at[member_id]) != (change.now, change.at)
            if (later or changed) and not force:
                left = True
                continue
            if change.was == "rejected" and change.now == "pending":
                left = True
                continue
            wanted = orders.get(image_id, Wanted(quota=quota))
            orders[image_id] = _opposite(change, wanted)
        if state.roles is None and not unchecked:
            orders = {
                image_id: replace(wanted, unknown=wanted.members - state.projects.keys())
                for image_id, wanted in orders.items()
            }
        return Task({name: orders}, in_part=left, in_doubt=in_doubt, unchecked=unchecked)

    # --- looking -----------------------------------------------------------------------------------------------------

    def _known_members(self, state: State) -> dict[str, frozenset[str]]:
        """Return the members of each image that are projects, as far as the operator can know; no empty sets."""
        found = {}
        for image in state.images.values():
            members = frozenset(visible_members(image))
            if state.roles is None:
                members &= state.projects.keys()
            if members:
                found[image.id] = members
        return found

    def _endpoints(self) -> dict[str, str]:
        return {run["endpoint"]: self._cloud_of(key) for key, run in self._runs.items()}

    def _last_seen(self, is_asked: Callable[[Pair], bool]) -> dict[tuple[str, str, str], frozenset[str]]:
        """Return what each pair that is in the ledger may be said to be, by cloud, image and project."""
        rows: dict[tuple[str, str, str], list[Row]] = {}
        for key, of_run in self._rows.items():
            for pair, row in of_run.items():
                if is_asked(pair):
                    rows.setdefault((self._cloud_of(key), *pair), []).append(row)
        return {pair: said_of(max(several, key=lambda row: row["settled_at"] or "")) for pair, several in rows.items()}


def said_of(row: Row) -> frozenset[str]:
    """Return what may be said of a pair whose last row this is."""
    if row["result"] in MEMBER_RESULTS:
        return frozenset({"member"})
    if row["result"] in GONE_RESULTS:
        return frozenset({"gone"})
    if row["result"] == "already":
        return frozenset({"member", "everyone"})
    return frozenset({"member", "everyone", "gone", "unknown"})


def visible_members(image: ImageState) -> dict[str, str]:
    """Return the members that an image has, by status; those of a private or public one can't be seen."""
    return dict(image.members) if image.visibility == "shared" else {}


def item(text: str) -> Any:
    """Return an argument as a plan has it in a list."""
    if "=" in text:
        keys: Row = dict(part.split("=") for part in text.split(","))
        return keys | {key: int(value) for key, value in keys.items() if key == "latest"}
    return text if len(text) >= AN_ID else {"name": text}


def pair_of(row: Row) -> Pair:
    """Return the pair that a row is about."""
    image_id, project_id = row["image_id"], row["project_id"]
    return image_id, project_id


def is_gone(change: Change, now: str | None) -> bool:
    """Whether nothing is left of a change, now that the member has this status."""
    if change.now is None:
        return now is not None
    if now is None:
        return True
    if change.was is None:
        return False
    return (now == "pending") != (change.now == "pending")


def _opposite(change: Change, wanted: Wanted) -> Wanted:
    """Add to what is wanted of an image what takes back a change."""
    member = frozenset({change.pair[1]})
    if change.was is None:
        # After an answer with a failure, a run doesn't know whether it was it that added a member it then accepted.
        reset = member if change.in_doubt and change.now == "accepted" else frozenset()
        return replace(wanted, gone=wanted.gone | member, reset=wanted.reset | reset)
    if change.now is not None and change.was != "accepted":
        return replace(wanted, reset=wanted.reset | member)
    accept = member if change.was == "accepted" else frozenset()
    return replace(wanted, members=wanted.members | member, accept=wanted.accept | accept)
