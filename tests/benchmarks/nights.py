"""What a command costs on a ledger that has grown for years, beside a young one: wall time and CPU.

    python -m tests.benchmarks.nights [--nights 1000] [--young 10] [--pairs 10000] [--rounds 5]
        [--ledgers sqlite,postgresql,mariadb] [--json FILE]

Both ledgers have the same plan, run once a night; a command has its turn on each in every round, as users run it. At
the end half of the runs are pruned from the old one.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.measure import BULKSHARE, interleaved, machine, median_of, take
from tests.benchmarks.millions import workplace
from tests.benchmarks.stub import environment
from tests.databases import SERVERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.benchmarks.measure import Taken
    from tests.benchmarks.stub import Stub

MAKE = Path(__file__).with_name("millions_ledger.py")
PROJECTS = 100


class Ledgers:
    """An old and a young ledger of one kind, and the commands to run on them."""

    def __init__(self, directory: Path, stub: Stub, locations: dict[str, str]) -> None:
        self._directory = directory
        self._stub = stub
        self._locations = locations

    def make(self, name: str, nights: int, pairs: int) -> None:
        """Fill a new ledger."""
        size = ["--rows", str(nights * pairs), "--nights", str(nights), "--projects", str(min(PROJECTS, pairs))]
        command = [sys.executable, str(MAKE), self._locations[name], "--endpoint", self._stub.address, *size]
        subprocess.run([*command, "--pending", "0"], stdout=subprocess.DEVNULL, check=True)

    def take(self, name: str, *words: str) -> Taken:
        """Run a command on one of the ledgers."""
        there = environment(self._directory) | {"BULKSHARE_LEDGER": self._locations[name]}
        return take([BULKSHARE, *words], 1, directory=self._directory, environment=there, expect=(0, 1))

    def subjects(self, name: str) -> tuple[str, str]:
        """Return an image and a project of the ledger."""
        self.take(name, "export", "--format", "csv")
        with (self._directory / "out").open(encoding="utf-8") as exported:
            columns, first = next(exported).split(","), next(exported).split(",")
        return first[columns.index("image_id")], first[columns.index("member_id")]


def measure(ledgers: Ledgers, ages: dict[str, int], pairs: int, rounds: int) -> dict[str, dict[str, Taken]]:
    """Return the medians of each command on each ledger, and what the prune took."""
    for name, nights in ages.items():
        ledgers.make(name, nights, pairs)
    image, project = ledgers.subjects("old")
    commands = {
        "runs": ("runs",),
        "show": ("show",),
        "who": ("who", image),
        "what": ("what", project),
        "history": ("history", "nightly"),
        "run of one pair": ("run", "-q", "one.yaml"),
    }
    figures: dict[str, dict[str, Taken]] = {}
    for command, words in commands.items():
        contenders: dict[str, Callable[[], Taken]] = {name: partial(ledgers.take, name, *words) for name in ages}
        figures[command] = {name: median_of(taken) for name, taken in interleaved(contenders, rounds).items()}
    half = ("ledger", "prune", "--keep-last", str(ages["old"] // 2))
    figures["ledger prune of half"] = {"old": ledgers.take("old", *half)}
    return figures


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nights", type=int, default=1000)
    parser.add_argument("--young", type=int, default=10)
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ledgers", default="sqlite", help="sqlite, postgresql, mariadb, with commas between")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    ages = {"old": options.nights, "young": options.young}
    tables: dict[str, dict[str, dict[str, Taken]]] = {}
    print(", ".join(f"{name} {value}" for name, value in machine().items()))
    with workplace() as bench, ExitStack() as stack:
        plan = {"version": 1, "name": "nightly", "cloud": "stub", "check_projects": "never"}
        entry = {"images": ["an-image"], "projects": ["0123456789abcdef0123456789abcdef"]}
        (bench.directory / "one.yaml").write_text(json.dumps({**plan, "share": [entry]}), "utf-8")
        for kind in options.ledgers.split(","):
            if kind == "sqlite":
                locations = {name: str(bench.directory / f"{name}.db") for name in ages}
            else:
                server = stack.enter_context(SERVERS[kind]())
                locations = {name: server.new_database() for name in ages}
            tables[kind] = measure(Ledgers(bench.directory, bench.stub, locations), ages, options.pairs, options.rounds)
            print(f"{kind}: {options.nights:,} and {options.young:,} nights of {options.pairs:,} pairs, seconds (CPU)")
            for command, figures in tables[kind].items():
                shown = (f"{taken.seconds:8.2f} ({taken.cpu_seconds:.2f})" for taken in figures.values())
                print(f"{command:24}{''.join(shown)}", flush=True)
    if options.json is not None:
        rows = {
            kind: {command: {name: asdict(one) for name, one in figures.items()} for command, figures in table.items()}
            for kind, table in tables.items()
        }
        options.json.write_text(json.dumps({"machine": machine(), "ledgers": rows}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
