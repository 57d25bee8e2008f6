"""A life: a random plan on random clouds, and some random steps of its operator, each followed by a look at everything.

Theory. After each step the clouds, the ledger and the output are compared with the model. An undisturbed command does
exactly what the model foresees. One that was disturbed (killed, stopped, or met with faults) may have done any part of
it, but nothing else; what it says about its pairs is true all the same; and exit code 0 always means that the clouds
are as planned. A life ends with an undisturbed run, and with another one, which writes nothing.

Disturbances hit a moment that the seed determines: a cloud answers so many requests, and holds the next one until the
signal was sent, the deadline has passed, or a second command was refused.
"""

from __future__ import annotations

import json
import shlex
import signal
import sqlite3
from collections import Counter
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Any

from tests.lives.checks import RESULTS, CloudStep, Pair, Row
from tests.lives.model import AS_PLANNED, OPEN_TO_ALL, RefusedPlanError, Wanted, foresee
from tests.lives.plans import PLAN, PlanFiles, PlanMaker, described, furnish, interfere, new_uuid
from tests.lives.world import CLOUDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from tests.forkserver import Commands, Ended
    from tests.lives.model import Meaning, Todo, Todos
    from tests.lives.world import ServedCloud, State, World

DAY_MILLISECONDS = 86_400_000
MOMENTS = frozenset({"settled_at", "started_at", "finished_at", "worked_at", "listed_at"})  # columns of the ledger
WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
FORBIDDEN = ("Traceback", "Exception ignored", "never awaited", "Unclosed", "was destroyed but", "Error in atexit")
FAULTS = (
    "GET members 503 100% times=1",
    "GET members 500 40%",
    "GET members truncate 100% times=1",
    "GET images 502 100% times=1",
    "GET any reset 20%",
    "POST members 503 30%",
    "POST members 503-after 50%",
    "POST members reset-after 50%",
    "POST members 500-after 100% times=3",
    "POST members truncate 60%",
    "POST members 429 50% retry-after=0 times=4",
    "POST members 403 40% times=1",
    "PUT member 500 50%",
    "PUT member 503-after 60%",
    "PUT member reset-after 50%",
    "DELETE member 503 50%",
    "DELETE member 500-after 60%",
    "DELETE member reset-after 50%",
    "PATCH images 503-after 60%",
    "PATCH images reset 50%",
    "ANY members 401 100% times=1",
    "ANY any 502-after 15%",
)
OUTAGES = (
    "ANY tokens 503 100%",
    "ANY projects 503 100%",
    "ANY members 503 100%",
    "ANY any 503 100%",
    "POST members 502 100%",
    "PUT member 503 100%",
)
OUTPUTS: tuple[list[str], ...] = (["--json"], ["--json"], ["-q"], ["-v"], ["--log-format=json"], [])


@dataclass(frozen=True)
class Disturbance:
    """What happens to a command.

    after: the first cloud answers so many requests and holds the others; None: it holds none.
    stop: the signal that is then sent.
    again: it is sent until the command has ended, although its requests are held.
    deadline: the command's deadline then passes.
    second: another command is then started, and refused.
    early: it ends if a pair fails.
    faults: requests fail.
    blind: it doesn't look beforehand.
    """

    after: int | None = None
    stop: signal.Signals | None = None
    again: bool = False
    deadline: bool = False
    second: bool = False
    early: bool = False
    faults: bool = False
    blind: bool = False

    @property
    def codes(self) -> frozenset[int]:
        """The exit codes that a command may have, besides those that say what came of its pairs."""
        if self.stop is signal.SIGKILL:
            return frozenset({-signal.SIGKILL})
        if self.stop is not None:
            return frozenset({130})
        if self.faults:
            return frozenset({5})
        return frozenset({5}) if self.deadline or self.early else frozenset()

    @property
    def is_none(self) -> bool:
        """Whether the command is to do all that is foreseen."""
        return not self.codes and not self.blind


UNDISTURBED = Disturbance()


@dataclass(frozen=True)
class Task:
    """What a command is for.

    orders: its orders on each cloud, or None if it has to refuse with the exit code `refusal`.
    in_part: they are not all that it was asked for, which it says.
    in_doubt: it may do any part of them.
    unchecked: it looks no projects up.
    """

    orders: Mapping[str, Meaning] | None
    refusal: int = 2
    in_part: bool = False
    in_doubt: bool = False
    unchecked: bool = False


@dataclass(frozen=True)
class Change:
    """What a run has changed of a pair: the member's status before and after it, None if it was no member.

    at: when the image service says that it was changed.
    in_doubt: the run may not know of it.
    """

    run: str
    cloud: str
    pair: Pair
    was: str | None
    now: str | None
    at: datetime | None
    in_doubt: bool


class Life:
    """The life that a seed determines. `history` is what happened, as a script with comments."""

    def __init__(self, seed: int, commands: Commands, world: World, folder: Path) -> None:
        self.history = [f"# life {seed}"]
        self._random = Random(seed)
        self._folder = folder
        self._commands = commands
        self._world = world
        self._clouds: dict[str, ServedCloud] = {}
        self._password = f"pw-{new_uuid(self._random).hex}"
        self._env = {
            "HOME": str(folder),
            "PATH": "/usr/bin:/bin",
            "BULKSHARE_LEDGER": str(folder / "ledger.db"),
            "OS_CLIENT_CONFIG_FILE": str(folder / "clouds.yaml"),
        }
        self._runs: dict[str, Row] = {}  # as `runs --json` prints them, newest first
        self._rows: dict[str, dict[Pair, Row]] = {}  # of each run
        self._orders: dict[str, Meaning] = {}  # that each run was begun for
        self._unchecked: set[str] = set()  # runs that look no projects up
        self._aged: set[str] = set()  # runs of which nothing was settled lately
        self._changes: list[Change] = []  # what runs have changed, in this order
        self._plan: PlanFiles

    def live(self) -> None:
        """Live it. Raises `AssertionError`."""
        random = self._random
        with ExitStack() as stack:
            for name in CLOUDS[: random.choice((1, 1, 1, 2))]:
                self._clouds[name] = self._world.serve(name, self._password)
                stack.callback(self._world.stop, self._clouds[name])
            furnish(random, self._clouds.values())
            for name, state in self._states().items():
                self.history += described(name, state)
            self._write_clouds_yaml()
            self._edit()
            for _ in range(random.randint(3, 6)):
                steps = self._going_on if self._is_unfinished and random.random() < 0.7 else self._any
                random.choices(tuple(steps), tuple(steps.values()))[0]()
            self._settle_down()

    # --- steps -------------------------------------------------------------------------------------------------------

    @property
    def _any(self) -> dict[Callable[[], object], int]:
        """The steps, and how likely they are."""
        return {
            self._run: 5,
            self._stopped_run: 6,
            self._faulty_run: 4,
            self._others: 6,
            self._diff: 2,
            self._retry: 2,
            self._saved: 2,
            self._night: 2,
            self._verify: 1,
            self._resume: 1,
            self._at_once: 1,
            self._outage: 1,
            self._deadline: 1,
            self._brittle_run: 1,
            self._blind_run: 1,
            self._edit: 1,
            self._look_back: 1,
        }

    @property
    def _going_on(self) -> dict[Callable[[], object], int]:
        """The steps after one that was interrupted, and how likely they are."""
        return {
            self._others: 3,
            self._resume: 3,
            self._run: 3,
            self._night: 1,
            self._edit: 1,
            self._saved: 1,
            self._stopped_run: 1,
        }

    def _edit(self) -> None:
        """Write a plan, or another one."""
        name = next(iter(self._clouds))
        self._plan = PlanMaker(self._random, self._clouds[name].state(), tuple(self._clouds)).make()
        for file, text in self._plan.texts.items():
            (self._folder / file).write_text(text)
            self.history.append(f"cat > {file} <<'EOF'\n{text}EOF")

    def _others(self) -> None:
        for _ in range(self._random.randint(1, 3)):
            name, served = self._random.choice(list(self._clouds.items()))
            self.history.append(f"# others, in cloud {name}: {interfere(self._random, served)}")

    def _night(self) -> None:
        """Let a day pass: everything in the ledger is a day older."""
        self.history.append("# a day passes")
        if not self._runs:
            return
        with closing(sqlite3.connect(self._folder / "ledger.db")) as ledger, ledger:
            for (table,) in ledger.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                for _, column, *_ in ledger.execute(f"PRAGMA table_info({table})").fetchall():
                    if column in MOMENTS:
                        ledger.execute(f"UPDATE {table} SET {column} = {column} - {DAY_MILLISECONDS}")  # noqa: S608  both names are the ledger's own
        self._aged = set(self._runs)
        self._read_ledger()

    def _run(self) -> int:
        return self._work(self._run_args, self._of_plan())

    def _stopped_run(self) -> None:
        stops = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        after, again = self._random.randint(0, 14), self._random.random() < 0.2
        self._work(*self._run_or_resume(), Disturbance(after, stop=self._random.choice(stops), again=again))

    def _deadline(self) -> None:
        args = [*self._run_args, "--deadline", "20ms"]
        self._work(args, self._of_plan(), Disturbance(self._random.randint(2, 10), deadline=True))

    def _at_once(self) -> None:
        self._work(self._run_args, self._of_plan(), Disturbance(self._random.randint(2, 8), second=True))

    def _brittle_run(self) -> None:
        args = [*self._run_args, "--max-failures", self._random.choice(("0", "1", "10%"))]
        self._work(args, self._of_plan(), Disturbance(early=True))

    def _blind_run(self) -> None:
        self._work([*self._run_args, "--no-preflight"], self._of_plan(), Disturbance(blind=True))

    def _faulty_run(self) -> None:
        with self._failing(self._random.sample(FAULTS, self._random.randint(1, 3))):
            self._work(*self._run_or_resume(), Disturbance(faults=True))

    def _outage(self) -> None:
        with self._failing([self._random.choice(OUTAGES)]):
            args = [*self._run_args, "--give-up-after", "30ms"]
            self._work(args, self._of_plan(), Disturbance(faults=True))

    def _resume(self) -> None:
        if not self._runs:
            return
        plan = next(iter(self._runs.values()))["plan"]
        choice = self._random.choice(("", plan, next(iter(self._newest(plan).values()))))
        if not choice or len(self._clouds) > 1:
            self._work(["resume"], self._of_unfinished())
        else:
            self._work(["resume", choice], self._of_unfinished(plan))

    def _retry(self) -> None:
        if self._newest() and not self._is_unfinished:
            self._work(["run", PLAN, "--retry-failed"], self._of_failed())

    def _saved(self) -> None:
        """Save what is to be done, and do it, perhaps after others have changed something."""
        saved = self._diff("--out", "saved.plan")
        if saved is not None:
            if self._random.random() < 0.4:
                self._others()
            self._work(["run", "saved.plan"], self._of_saved(saved))

    def _settle_down(self) -> None:
        """End with an undisturbed run, and with one that has nothing to do."""
        if self._random.random() < 0.5:
            self._night()
        if self._random.random() < 0.3:
            self._diff()
        marks = self._marks()
        if self._run() == 0:
            opened = any(self._writes(marks, name)["PATCH"] for name in self._clouds)  # its former members are back
            unfinished, marks = self._is_unfinished, self._marks()
            if self._run() == 0 and not opened and not unfinished:
                self._check_nothing_written(marks, "a second run")
            self._random.choice((self._diff, self._verify, self._look_back))()

    @property
    def _run_args(self) -> list[str]:
        return ["run", PLAN, *self._plan.options]

    def _run_or_resume(self) -> tuple[list[str], Task]:
        if self._is_unfinished and self._random.random() < 0.4:
            return ["resume", "golden"], self._of_unfinished("golden")
        return self._run_args, self._of_plan()

    def _failing(self, rules: Sequence[str]) -> ExitStack:
        """Let requests fail by these rules for a while."""
        stack = ExitStack()
        self.history.append(f"# faults: {rules}")
        for served in self._clouds.values():
            served.fail(rules, self._random.getrandbits(30))
            stack.callback(served.fail, ())
        stack.callback(self.history.append, "# no faults")
        return stack

    # --- steps that only look ----------------------------------------------------------------------------------------

    def _diff(self, *more: str) -> dict[str, tuple[Meaning, Todos]] | None:
        """Diff, and check what it says; return that as a saved plan, or None if the plan is refused."""
        marks, orders = self._marks(), self._of_plan().orders
        command = ["run", PLAN, "--dry-run"] if not more and self._random.random() < 0.3 else ["diff", PLAN, *more]
        ended = self._call(*command, *self._plan.options, "--json")
        self._check_nothing_written(marks, "diff")
        if orders is None:
            assert ended.code == 2, f"the plan does not fit, and diff exits {ended.code}"
            return None
        changes = problems = False
        saved: dict[str, tuple[Meaning, Todos]] = {}
        for (name, state), said in zip(self._states().items(), self._documents(ended), strict=True):
            todos = foresee(orders[name], state)
            images = {image["image_id"]: image for image in said["images"]}
            assert images.keys() <= todos.keys()
            for image_id, todo in todos.items():
                check_changes(images.get(image_id), todo)
            to_save = {image_id: saved_orders(todo, orders[name][image_id]) for image_id, todo in todos.items()}
            changes |= any(todo.changes for todo in todos.values())
            problems |= any(todo.problems for todo in todos.values())
            saved[name] = to_save, foresee(to_save, state)
        expected = 11 if problems else 10 if changes else 0
        assert ended.code == expected, f"diff exits {ended.code}, not {expected}"
        return saved

    def _verify(self) -> None:
        marks, orders = self._marks(), self._of_plan().orders
        strict = self._random.random() < 0.5
        ended = self._call("verify", PLAN, "--json", *["--strict"] * strict)
        self._check_nothing_written(marks, "verify")
        if orders is None:
            assert ended.code == 2, f"the plan does not fit, and verify exits {ended.code}"
            return
        wrong = False
        for (name, state), said in zip(self._states().items(), self._documents(ended), strict=True):
            for image_id, wanted in orders[name].items():
                if not wanted.members:  # the image is not listed, although it may be pruned
                    continue
                image = state.images.get(image_id)
                there = set(image.members) if image is not None and image.visibility == "shared" else set()
                missing = wanted.members - there
                if image is not None and image.visibility in OPEN_TO_ALL and not wanted.strict:
                    missing = frozenset()
                assert set(said["missing"].get(image_id, ())) == missing, f"verify misses {said['missing']}"
                extra = there - wanted.members - wanted.kept
                assert set(said["extra"].get(image_id, ())) == extra, f"verify's extra: {said['extra']}"
                wrong |= bool(missing or (strict and extra))
        assert ended.code == wrong, f"verify exits {ended.code}"

    def _look_back(self) -> None:
        """Look at a run in the ledger in all the ways there are."""
        if not self._runs:
            return
        key = self._random.choice(list(self._runs))
        run = self._runs[key]
        for args in (["show"], ["show", key, "--failed"], ["runs"], ["report", key, "-o", "report.html"]):
            assert self._call(*args).code == 0
        shown = json.loads(self._call("show", key, "--json").out)
        assert {name: shown[name] for name in run} == run, "`show` and `runs` disagree"
        explained = sum(cause["pairs"] for cause in shown["causes"])
        assert explained == sum(run[result] for result in ("rejected", "failed", "skipped")), "causes are missing"
        assert self._call("export", key, "--format", "csv", "-o", "pairs.csv").code == 0
        self._check_files()

    # --- what commands are for ---------------------------------------------------------------------------------------

    def _of_plan(self) -> Task:
        unchecked = self._plan.document.get("check_projects") == "never"
        try:
            orders = {name: self._plan.meaning(name, state) for name, state in self._states().items()}
            return Task(orders, unchecked=unchecked)
        except RefusedPlanError:
            return Task(None)

    def _of_unfinished(self, plan: str = "") -> Task:
        """Return what is left of a plan's runs; by default of the only plan that has such runs."""
        plans = [plan] if plan else {run["plan"] for run in self._runs.values()}
        left = [runs for runs in map(self._unfinished, plans) if runs]
        if len(left) > 1:
            return Task(None)
        return Task({self._cloud_of(key): self._orders[key] for runs in left for key in runs.values()})

    def _of_failed(self) -> Task:
        """Return what the last runs left of the plan."""
        newest, orders = self._newest(), self._of_plan().orders
        if orders is None or newest.keys() != self._clouds.keys():
            return Task(None)
        left = {name: dict[str, Wanted]() for name in newest}
        for name, key in newest.items():
            for image_id, wanted in orders[name].items():
                pairs = self._rows[key].items()
                bad = {pair[1] for pair, row in pairs if pair[0] == image_id and row["result"] not in AS_PLANNED}
                if wanted.members & bad:
                    left[name][image_id] = wanted.only(frozenset(bad))
        return Task(left, unchecked=self._of_plan().unchecked)

    def _of_saved(self, saved: Mapping[str, tuple[Meaning, Todos]]) -> Task:
        """Return what a saved plan is for; nothing if a cloud is no longer as it was."""
        states = self._states()
        as_before = all(
            foresee(orders, states[name])[image_id].to_send == todo.to_send
            for name, (orders, todos) in saved.items()
            for image_id, todo in todos.items()
        )
        return Task(
            {name: orders for name, (orders, _) in saved.items()} if as_before else None,
            12,
            unchecked=self._of_plan().unchecked,
        )

    # --- looking -----------------------------------------------------------------------------------------------------

    def _write_clouds_yaml(self) -> None:
        entries = {name: entry for served in self._clouds.values() for name, entry in served.entries().items()}
        (self._folder / "clouds.yaml").write_text(json.dumps({"clouds": entries}))

    def _states(self) -> dict[str, State]:
        return {name: served.state() for name, served in self._clouds.items()}

    def _newest(self, plan: str = "golden") -> dict[str, str]:
        """Return a plan's newest run on each cloud."""
        newest: dict[str, str] = {}
        for key, run in self._runs.items():
            if run["plan"] == plan:
                newest.setdefault(run["cloud"], key)
        return newest

    def _unfinished(self, plan: str = "golden") -> dict[str, str]:
        """Return a plan's newest run on each cloud, if it is unfinished."""
        return {cloud: key for cloud, key in self._newest(plan).items() if self._runs[key]["state"] != "finished"}

    @property
    def _is_unfinished(self) -> bool:
        return bool(self._unfinished())

    def _documents(self, ended: Ended) -> list[Row]:
        """Return a command's object of each cloud."""
        document = json.loads(ended.out)
        documents: list[Row] = document["clouds"] if len(self._clouds) > 1 else [document]
        return documents

    def _marks(self) -> dict[str, int]:
        return {name: len(served.asked) for name, served in self._clouds.items()}

    def _writes(self, marks: Mapping[str, int], name: str, *, successful: bool = False) -> Counter[str]:
        """Count the image service's writes since a mark, by method."""
        return Counter(
            asked.method
            for asked in self._clouds[name].asked[marks[name] :]
            if asked.method in WRITES and asked.path.startswith("/image/")
            if asked.status in {200, 204} or not successful
        )

    @property
    def _has_ledger(self) -> bool:
        return (self._folder / "ledger.db").exists()

    def _read_ledger(self) -> set[str]:
        """Read the runs, and the rows of those that have changed; return their keys."""
        if not self._has_ledger:
            return set()
        runs = {run["run"]: run for run in map(json.loads, self._read("runs", "--json", "-n", "99"))}
        changed = {key for key, run in runs.items() if run != self._runs.get(key)}
        for key in changed:
            rows = list(map(json.loads, self._read("export", key)))
            self._rows[key] = {(row["image_id"], row["member_id"]): row for row in rows}
            counts = Counter(row["result"] for row in rows)
            assert runs[key]["planned"] == len(rows) == len(self._rows[key]), f"{key} has {len(rows)} rows"
            for result in RESULTS:
                assert runs[key][result] == counts[result], f"{key}: {runs[key][result]} {result}, not {counts[result]}"
        self._runs = runs
        return changed

    def _read(self, *args: str) -> list[str]:
        ended = self._commands.run(args, directory=self._folder, env=self._env)
        assert ended.code == 0, ended
        return ended.out.splitlines()

    # --- commands ----------------------------------------------------------------------------------------------------

    def _call(self, *args: str) -> Ended:
        self.history.append(shlex.join(["bulkshare", *args]))
        return self._concluded(self._commands.run(args, directory=self._folder, env=self._env))

    def _concluded(self, ended: Ended) -> Ended:
        self.history.append(f"# exit {ended.code}")
        self.last_output = f"{ended.out}\n{ended.err}"
        for word in FORBIDDEN:
            assert word not in self.last_output, f"{word!r} in the output"
        for secret in self._secrets():
            assert secret not in self.last_output, "a secret in the output"
        return ended

    last_output = ""

    def _disturbed(self, args: Sequence[str], disturbance: Disturbance) -> Ended:
        """Run a command and let happen to it what is to happen."""
        after, stop = disturbance.after, disturbance.stop
        if after is None:
            return self._call(*args)
        self.history.append(f"{shlex.join(['bulkshare', *args])} &  # cloud one answers {after} requests, and no more")
        served = next(iter(self._clouds.values()))
        served.hold(after)
        command = self._commands.start(args, directory=self._folder, env=self._env)
        if served.wait_for_hold(command):
            if disturbance.second:
                assert self._call(*args).code == 75, "two runs of a plan at the same time"
            if stop is not None:
                self.history.append(f"kill -{stop.value}")
                command.send_signal(stop)
            while disturbance.again and not command.has_ended(0.02):
                command.send_signal(stop or signal.SIGINT)
            if stop is signal.SIGKILL:
                command.wait()
            if disturbance.deadline:
                self.history.append("# the deadline passes")
                served.release_after(0.04)
                return self._concluded(command.wait())
        served.release()
        return self._concluded(command.wait())

    def _work(
        self,
        args: Sequence[str],
        task: Task,
        disturbance: Disturbance = UNDISTURBED,
        outputs: Sequence[list[str]] = OUTPUTS,
    ) -> int:
        """Run a command that may write, and compare everything with the model. Return its exit code."""
        before, runs, rows, marks = self._states(), self._runs, dict(self._rows), self._marks()
        output = self._random.choice(outputs)
        ended = self._disturbed([*args, *output], disturbance)
        for served in self._clouds.values():
            served.settle()
        after, changed = self._states(), self._read_ledger()
        self._check_files()
        self._check_output(ended, output, worked=bool(changed))
        if task.orders is None or ended.code not in {0, 1, *disturbance.codes}:
            self._check_nothing_written(marks, "a command that refuses")
            assert (after, changed) == (before, set()), f"it is refused, and run {changed} has changed"
            assert ended.code in {task.refusal if task.orders is None else None, *disturbance.codes}, (
                f"exit {ended.code}"
            )
            return ended.code
        touched = {self._cloud_of(key): key for key in changed}
        assert len(touched) == len(changed), "two runs on one cloud have changed"
        for name in self._clouds:
            key = touched.get(name, "")
            if key and key not in runs:
                self._orders[key] = task.orders[name]
                self._unchecked |= {key} if task.unchecked else set()
            old = rows.get(key, {}) if key in runs else {}
            step = CloudStep(
                task.orders.get(name, {}),
                self._as_seen_by(key, before[name]),
                self._as_seen_by(key, after[name]),
                self._rows.get(key, {}),
                old,
                frozenset() if key in self._aged else fresh_images(old),
                ended.code in {0, 1},
                self._writes(marks, name, successful=True),
            )
            self._aged.discard(key)
            self._note_changes(name, key, before[name], after[name], in_doubt=not disturbance.is_none or key in runs)
            self._check_step(step, self._runs.get(key), ended.code, disturbance, in_doubt=task.in_doubt)
        if touched and ended.code in {0, 1} and "--verify" not in args:
            good = all(row["result"] in AS_PLANNED for key in touched.values() for row in self._rows[key].values())
            good = good and not task.in_part
            assert ended.code == (0 if good else 1) or task.in_doubt, f"exit {ended.code}, and all as planned: {good}"
        return ended.code

    def _cloud_of(self, run: str) -> str:
        """Return the cloud of a run, also of a tenant's."""
        return str(self._runs[run]["cloud"]).removeprefix("tenant-")

    def _as_seen_by(self, run: str, state: State) -> State:
        """Return a cloud as it is to the user of a run: a tenant may accept for its project."""
        is_tenant = run in self._runs and self._runs[run]["cloud"].startswith("tenant-")
        return replace(state, roles=None) if is_tenant else state

    def _note_changes(self, cloud: str, run: str, before: State, after: State, *, in_doubt: bool) -> None:
        for image_id, now in after.images.items():
            was = before.images[image_id].members
            self._changes += [
                Change(
                    run,
                    cloud,
                    (image_id, each),
                    was.get(each),
                    now.members.get(each),
                    now.changed_at.get(each),
                    in_doubt,
                )
                for each in was.keys() | now.members.keys()
                if was.get(each) != now.members.get(each)
            ]

    # --- what has to hold --------------------------------------------------------------------------------------------

    def _check_step(
        self, step: CloudStep, run: Row | None, code: int, disturbance: Disturbance, *, in_doubt: bool
    ) -> None:
        step.check_limits(blind=disturbance.faults or disturbance.blind or in_doubt)
        step.check_rows()
        if code == 0 and not in_doubt:
            step.check_as_planned()
        if disturbance.is_none and not in_doubt:
            step.check_exactly()
        if run is not None:
            assert run["state"] == "finished" or not step.ended, f"exit {code}, and the run is {run['state']}"
            assert run["state"] != "finished" or not run["pending"], "the run is finished, and has pending pairs"

    def _check_nothing_written(self, marks: Mapping[str, int], what: str) -> None:
        for name in self._clouds:
            assert not self._writes(marks, name), f"{what} writes: {self._writes(marks, name)} to cloud {name}"

    def _check_output(self, ended: Ended, output: Sequence[str], *, worked: bool) -> None:
        """Check that what a command says agrees with the ledger, and that a quiet one says nothing if all is well."""
        if "-q" in output:
            assert ended.code or not ended.out + ended.err, "-q is not quiet"
        elif "--json" not in output:
            assert ended.out or ended.code not in {0, 1} or not worked, "there is no result on stdout"
        elif ended.out:
            document = json.loads(ended.out)
            for part in document.get("clouds", [document]):
                run = self._runs.get(part["run"], part)
                for result in RESULTS:
                    assert part[result] == run[result], f"{part[result]} {result} said, {run[result]} in the ledger"
        if "--log-format=json" in output:
            for line in ended.err.splitlines():
                assert not line.startswith("{") or json.loads(line)

    def _secrets(self) -> Iterator[str]:
        yield self._password
        for served in self._clouds.values():
            yield from list(served.cloud.tokens)

    def _check_files(self) -> None:
        """Check that no file has a secret."""
        secrets = [secret.encode() for secret in self._secrets()]
        for path in self._folder.rglob("*"):
            if path.is_file() and path.name != "clouds.yaml":
                content = path.read_bytes()
                assert not any(secret in content for secret in secrets), f"a secret in {path.name}"


def fresh_images(rows: Mapping[Pair, Row]) -> frozenset[str]:
    """Return the images all of whose pairs are settled as planned."""
    bad = {image_id for (image_id, _), row in rows.items() if row["result"] not in AS_PLANNED}
    return frozenset(image_id for image_id, _ in rows) - bad


def saved_orders(todo: Todo, wanted: Wanted) -> Wanted:
    """Return what a plan that was saved wants of an image: what was to be done then."""
    members = frozenset(todo.add | todo.accept | todo.unaccepted | todo.unlisted)
    return Wanted(
        members,
        accept=wanted.accept & members,
        force=wanted.force & members,
        gone=frozenset(todo.remove),
        fill=wanted.fill,
        make_shared=todo.make_shared,
        selected=wanted.selected,
        quota=wanted.quota,
        strict=wanted.strict,
    )


def check_changes(image: Row | None, todo: Todo) -> None:
    """Check what `diff` says about an image; None: nothing."""
    if image is None:
        assert not todo.changes, f"diff says nothing, and there is to be done: {todo}"
        assert not todo.problems, f"diff says nothing, and there is what can't be done: {todo}"
        return
    where = f"diff of image {image['image_id']}"
    refused = {member_id for members in image["refused"].values() for member_id in members}
    said: dict[str, Any] = {"refused": refused, "make_shared": image["make_shared"]}
    said |= {key: set(image[key]) for key in ("add", "accept", "remove", "unknown")}
    foreseen = {
        "refused": todo.refused | todo.unaccepted,
        "add": todo.add,
        "make_shared": todo.make_shared,
        "accept": todo.accept,
        "remove": todo.remove,
        "unknown": todo.unlisted,
    }
    assert said == foreseen, f"{where}: {said}, foreseen: {foreseen}"
