"""What ten thousand, a hundred thousand and a million pairs cost in every shape: CPU, time, memory, requests, ledger.

    python -m tests.benchmarks.millions [--pairs 10000,100000,1000000] [--shapes x500 x2] [--steps first second]
                                        [--ledger-rows 10000000] [--json FILE]

Every command runs as a user runs it, against `millions_stub.py`, a cloud in a process of its own that answers as fast
as Python can. The shapes differ in how many projects an image has, and in how many entries the plan has. Lists of more
than 1,000 IDs are in files: images in a plain one, projects in a CSV with names. The steps are:

- planning: reads the plan and goes through its pairs, without the start of the program; its seconds are of CPU;
- first: all pairs are new;
- second, diff, verify: all pairs are members;
- resume: a first run that is killed with -9 when the cloud has half of the pairs, and then resumed;
- reading: what shows a run, and a saved plan.

`--ledger-rows` adds the commands that read a ledger of so many rows, which `millions_ledger.py` makes. The peak and the
CPU are those of the bulkshare process. On a busy machine look at CPU only, and at ratios within one run.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.benchmarks.measure import BULKSHARE, machine
from tests.benchmarks.stub import Stub, environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence, Set

HERE = Path(__file__).parent
LEDGERS_PROJECTS = 500
NAMESPACE = uuid.UUID("6ba7b812-9dad-11d1-80b4-00c04fd430c8")
LONGEST_LIST = 1_000  # IDs in the plan itself
ENTRIES = "entries"
# Projects of each image; None: there are two images. `entries` has an entry with a list of its own for each image.
SHAPES = {"x500": 500, "x10000": 10_000, "x400": 400, "x2": 2, "x1": 1, "2x": None, ENTRIES: 100}
STEPS = ("planning", "first", "second", "diff", "verify", "resume", "reading")
HEADER = (
    f"{'':30}{'pairs':>10}{'seconds':>10}{'pairs/s':>10}{'CPU us/pair':>12}{'peak MB':>9}{'requests':>11}"
    f"{'ledger B/pair':>15}"
)
PLANNING = """
import json, sys, time
from pathlib import Path
from bulkshare.plan.load import load_plan
from bulkshare.plan.expand import expand
from bulkshare.plan.expand import fingerprint
began = time.process_time()
plan = load_plan(Path(sys.argv[1]))
fingerprint(plan)
pairs = sum(1 for block in expand(plan) for _ in block.member_ids)
print(json.dumps({"pairs": pairs, "seconds": time.process_time() - began}))
"""


@dataclass(frozen=True)
class Row:
    """What one command took. `ledger_bytes` is what a pair takes in the ledger after it, where it wrote one.

    `requests` are those that the cloud got, of all its services.
    """

    step: str
    pairs: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    exit_code: int
    requests: int = 0
    ledger_bytes: float | None = None

    def __str__(self) -> str:
        pairs = max(self.pairs, 1)
        room = "" if self.ledger_bytes is None else f"{self.ledger_bytes:.1f}"
        return (
            f"{self.step:30}{self.pairs:10,}{self.seconds:10.2f}{self.pairs / self.seconds:10,.0f}"
            f"{self.cpu_seconds / pairs * 1e6:12.1f}{self.peak_bytes / 1e6:9.0f}"
            f"{self.requests:11,}{room:>15}"
        )


@dataclass
class Bench:
    """A directory to work in with a cloud, and the rows of the table so far."""

    directory: Path
    stub: Stub
    rows: list[Row] = field(default_factory=list)

    def take(
        self, step: str, pairs: int, command: Sequence[str], *, expect: Sequence[int] = (0,), kill_after: int = 0
    ) -> Row:
        """Run a command to its end, or kill it once the cloud has had `kill_after` POSTs; return what it took."""
        out, told = self.directory / "out", self.directory / "err"
        before = self.stub.ask()["requests"]
        began = time.monotonic()
        with (
            out.open("w", encoding="utf-8") as stdout,
            told.open("w", encoding="utf-8") as stderr,
            subprocess.Popen(
                command, cwd=self.directory, stdout=stdout, stderr=stderr, env=environment(self.directory)
            ) as process,
        ):
            while kill_after and self.stub.ask()["adds"] < kill_after and _is_running(process.pid):
                time.sleep(0.02)
            if kill_after:
                process.kill()
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.monotonic() - began
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in (*expect, *([-9] if kill_after else [])):
            raise SystemExit(f"{' '.join(command)} left with {process.returncode}: {told.read_text('utf-8')}")
        cpu_seconds = usage.ru_utime + usage.ru_stime
        requests = self.stub.ask()["requests"] - before
        room = _bytes_a_pair(self.directory / "ledger.db") if {"run", "resume", "prune"} & set(command) else None
        return Row(step, pairs, seconds, cpu_seconds, usage.ru_maxrss * 1024, process.returncode, requests, room)

    def keep(self, row: Row) -> None:
        """Add a row to the table."""
        self.rows.append(row)
        print(row, flush=True)

    def forget(self) -> None:
        """Begin anew: no members on the cloud, no ledger."""
        self.stub.ask("DELETE")
        for part in self.directory.glob("ledger.db*"):
            part.unlink()


def _is_running(pid: int) -> bool:
    """Tell whether a child has not ended, leaving what it took to be asked for."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def _bytes_a_pair(ledger: Path) -> float:
    with closing(sqlite3.connect(ledger)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        pairs: int = connection.execute("SELECT count(*) FROM pairs").fetchone()[0]
    return ledger.stat().st_size / max(pairs, 1)


def _ids(what: str, count: int) -> list[str]:
    return [str(uuid.uuid5(NAMESPACE, f"{what} {number}")) for number in range(count)]


def _listed(directory: Path, file: str, kind: str, count: int) -> list[Any]:
    """Return a list of IDs for a plan; a long one is in a file."""
    ids = _ids(kind, count)
    if kind == "project":
        ids = [one.replace("-", "") for one in ids]
    if count <= LONGEST_LIST:
        return list(ids)
    if kind == "project":
        lines = "".join(f"{member},customer {number}\n" for number, member in enumerate(ids))
        (directory / f"{file}.csv").write_text(f"project_id,name\n{lines}", "utf-8")
        return [{"file": f"{file}.csv"}]
    (directory / f"{file}.txt").write_text("".join(f"{one}\n" for one in ids), "utf-8")
    return [{"file": f"{file}.txt"}]


def write_plan(directory: Path, shape: str, pairs: int) -> tuple[Path, int]:
    """Write a plan of about so many pairs; return its file and how many they are."""
    of_an_image = SHAPES[shape]
    projects = pairs // 2 if of_an_image is None else min(of_an_image, max(1, pairs // 10))
    images = pairs // projects
    name = f"plan-{shape}-{pairs}"
    share: list[dict[str, list[Any]]]
    if shape == ENTRIES:
        known = _ids("project", 10 * projects)
        share = [
            {"images": [image], "projects": [known[(number + 7 * step) % len(known)] for step in range(projects)]}
            for number, image in enumerate(_ids("image", images))
        ]
    else:
        share = [
            {
                "images": _listed(directory, f"{name}-images", "image", images),
                "projects": _listed(directory, f"{name}-projects", "project", projects),
            }
        ]
    plan = {
        "version": 1,
        "name": name,
        "cloud": "stub",
        "check_projects": "never",
        "limits": {"concurrency": 64, "rate": 1_000_000, "per_image": 64, "members_per_image": 0},
        "share": share,
    }
    path = directory / f"{name}.yaml"
    path.write_text(json.dumps(plan), "utf-8")  # JSON is YAML
    return path, images * projects


def planning(bench: Bench, shape: str, plan: Path) -> None:
    """Read a plan and go through its pairs, in a process of its own."""
    row = bench.take(f"{shape}: planning", 0, [sys.executable, "-c", PLANNING, str(plan)])
    told = json.loads((bench.directory / "out").read_text("utf-8"))
    bench.keep(replace(row, pairs=told["pairs"], seconds=told["seconds"]))


def measure(bench: Bench, shape: str, pairs: int, steps: Set[str]) -> None:
    """Take the steps of a shape, all of which need the first run, except planning and resuming."""
    # In a process of its own: a command's peak is never less than that of the process that starts it.
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        plan, pairs = pool.submit(write_plan, bench.directory, shape, pairs).result()
    bench.forget()
    if "planning" in steps:
        planning(bench, shape, plan)
    if steps & {"first", "second", "diff", "verify", "reading"}:
        bench.keep(bench.take(f"{shape}: first run", pairs, [BULKSHARE, "run", "-q", str(plan)]))
        require(bench.stub.ask()["adds"] == pairs, "one POST for each pair")
    for step, command in (("second", "run"), ("diff", "diff"), ("verify", "verify")):
        if step in steps:
            name = "second run" if step == "second" else step
            bench.keep(bench.take(f"{shape}: {name}", pairs, [BULKSHARE, command, "-q", str(plan)]))
            require(bench.stub.ask()["adds"] == pairs, "no POST when all pairs are members")
    if "reading" in steps:
        reading(bench, shape, pairs)
        saved_plan(bench, shape, pairs, plan)
    if "resume" in steps:
        resumed(bench, shape, pairs, plan)


def saved_plan(bench: Bench, shape: str, pairs: int, plan: Path) -> None:
    """Save what is to be done when all is new, and begin to do it."""
    bench.stub.ask("DELETE")
    diff = [BULKSHARE, "diff", "-q", str(plan), "--out", "saved.plan"]
    bench.keep(bench.take(f"{shape}: diff --out, all new", pairs, diff, expect=[10]))
    saved = [BULKSHARE, "run", "-q", "saved.plan", "--deadline", "10s"]
    bench.keep(bench.take(f"{shape}: saved plan, 10 s of it", pairs, saved, expect=[0, 5]))


def resumed(bench: Bench, shape: str, pairs: int, plan: Path) -> None:
    """Run a plan that is killed at half, and resume it."""
    bench.forget()
    half = pairs // 2
    bench.stub.ask("PUT", f"/hold/{half}")
    run = [BULKSHARE, "run", "-q", str(plan)]
    bench.keep(bench.take(f"{shape}: run, killed at half", half, run, kill_after=half + 1))
    bench.stub.ask("PUT", "/hold/0")
    bench.keep(bench.take(f"{shape}: resume", pairs - half, [BULKSHARE, "resume", "-q"]))
    seen = bench.stub.ask()
    require(seen["members"] == pairs, "every pair is a member after the kill and the resume")
    print(f"    POSTs beyond one for each pair after the kill: {seen['adds'] - pairs}")


def reading(bench: Bench, shape: str, pairs: int) -> None:
    """Look at the last run in the ledger."""
    bench.keep(bench.take(f"{shape}: show", pairs, [BULKSHARE, "show"]))
    bench.keep(bench.take(f"{shape}: show --failed", pairs, [BULKSHARE, "show", "--failed"]))
    for form in ("jsonl", "csv"):
        bench.keep(
            bench.take(
                f"{shape}: export {form}", pairs, [BULKSHARE, "export", "--format", form, "-o", f"export.{form}"]
            )
        )
    bench.keep(bench.take(f"{shape}: report", pairs, [BULKSHARE, "report", "-o", "report.html"]))


def large_ledger(bench: Bench, rows: int) -> None:
    """Ten nights in one ledger: look at the last one, finish it, forget the older half."""
    bench.forget()
    per_night = rows // 10
    projects = min(LEDGERS_PROJECTS, max(1, per_night // 4))
    make = [sys.executable, str(HERE / "millions_ledger.py"), "ledger.db", "--endpoint", bench.stub.address]
    make += ["--rows", str(rows), "--projects", str(projects), "--pending", str(min(1000, per_night // 2))]
    bench.keep(bench.take("ledger: made", rows, make))
    told = json.loads((bench.directory / "out").read_text("utf-8"))
    settling = f"settled {rows / told['settling']:,.0f}/s"
    print(f"    {told['bytes'] / rows:.1f} B/pair, enqueued {rows / told['enqueuing']:,.0f}/s, {settling}")
    shape = f"{rows:,} rows"
    bench.keep(bench.take(f"{shape}: runs", per_night, [BULKSHARE, "runs"]))
    reading(bench, shape, per_night)
    bench.keep(
        bench.take(f"{shape}: resume", per_night, [BULKSHARE, "resume", "-q", "--os-cloud", "stub"], expect=[0, 1])
    )
    prune = [BULKSHARE, "ledger", "prune", "--keep", "5d12h"]
    bench.keep(bench.take(f"{shape}: prune --dry-run", 0, [*prune, "--dry-run"]))
    bench.keep(bench.take(f"{shape}: prune of half", rows // 2, prune))


def require(condition: bool, what: str) -> None:  # noqa: FBT001  an assertion that -O leaves in
    """End the benchmark where it does not measure what it says."""
    if not condition:
        raise SystemExit(f"not so: {what}")


@contextmanager
def workplace() -> Iterator[Bench]:
    """Make a directory and a cloud for as long as the context lasts."""
    directory = Path(tempfile.mkdtemp(prefix="bulkshare-millions-"))
    stub = Stub(directory)
    try:
        yield Bench(directory, stub)
    finally:
        stub.close()
        shutil.rmtree(directory)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", default="10000,100000,1000000", help="sizes, with commas between; empty for none")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=[shape for shape in SHAPES if shape != "x400"])
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS)
    parser.add_argument("--ledger-rows", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with workplace() as bench:
        print(", ".join(f"{name} {value}" for name, value in machine().items()))
        print(HEADER)
        for pairs in map(int, filter(None, options.pairs.split(","))):
            for shape in options.shapes:
                # What only reads the ledger is the same in every shape.
                steps = set(options.steps) - ({"reading"} if shape != "x500" else set())
                measure(bench, shape, pairs, steps)
        if options.ledger_rows:
            large_ledger(bench, options.ledger_rows)
        if options.json is not None:
            document = {"machine": machine(), "rows": [asdict(row) for row in bench.rows]}
            options.json.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
