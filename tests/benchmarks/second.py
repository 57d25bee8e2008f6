"""What commands cost when all is shared already: CPU and instructions for each further pair.

    python -m tests.benchmarks.second [--pairs 100000,400000] [--rounds 5] [--counted 10000,40000] [--json FILE]

Images x 500 projects on the cloud of `millions_stub.py`. A further pair is the difference between two sizes, so that
start-up and log-in cancel out. CPU is the median over rounds in which every command has its turn at both sizes;
`--counted` are the sizes for valgrind's callgrind, which a busy machine hardly changes, and "" leaves it out.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.measure import BULKSHARE, caching, machine
from tests.benchmarks.millions import require, workplace, write_plan
from tests.benchmarks.stub import environment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.benchmarks.millions import Bench

COMMANDS = ("run", "diff", "verify")
COLLECTED = re.compile(r"Collected : (\d+)")


class Shared:
    """A cloud on which all pairs of a plan are shared."""

    def __init__(self, bench: Bench, pairs: int) -> None:
        self._bench = bench
        self._plan, self.pairs = write_plan(bench.directory, "x500", pairs)
        bench.take("first run", self.pairs, self._command("run"))

    def cpu_seconds(self, command: str) -> float:
        """Run a command and return the CPU that it took."""
        row = self._bench.take(command, self.pairs, self._command(command))
        require(self._bench.stub.ask()["adds"] == self.pairs, "no POST when all is shared")
        return row.cpu_seconds

    def instructions(self, command: str) -> int:
        """Run a command in callgrind and return how many instructions it executed."""
        counted = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable]
        directory = self._bench.directory
        done = subprocess.run(
            [*counted, *self._command(command)],
            capture_output=True,
            text=True,
            check=False,
            cwd=directory,
            env={**caching(environment(directory)), "PYTHONHASHSEED": "0"},
        )
        found = COLLECTED.search(done.stderr)
        require(found is not None and done.returncode == 0, f"valgrind counts: {done.stderr[-2000:]}")
        assert found is not None
        return int(found[1])

    def _command(self, command: str) -> list[str]:
        return [BULKSHARE, command, "-q", str(self._plan)]


def _two(stack: ExitStack, sizes: Sequence[int]) -> tuple[Shared, Shared]:
    few, many = (Shared(stack.enter_context(workplace()), pairs) for pairs in sizes)
    return few, many


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", default="100000,400000", help="two sizes for CPU")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--counted", default="10000,40000", help="two sizes for instructions; empty for none")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    given = parser.parse_args()
    found: dict[str, dict[str, float]] = {command: {} for command in COMMANDS}
    with ExitStack() as stack:
        few, many = _two(stack, [int(size) for size in given.pairs.split(",")])
        micros: dict[str, list[float]] = {command: [] for command in COMMANDS}
        for _ in range(given.rounds):
            for command in COMMANDS:
                seconds = many.cpu_seconds(command) - few.cpu_seconds(command)
                micros[command].append(seconds / (many.pairs - few.pairs) * 1e6)
    for command in COMMANDS:
        found[command]["cpu_micros"] = statistics.median(micros[command])
    if given.counted:
        with ExitStack() as stack:
            few, many = _two(stack, [int(size) for size in given.counted.split(",")])
            for command in COMMANDS:
                more = many.instructions(command) - few.instructions(command)
                found[command]["instructions"] = more / (many.pairs - few.pairs)
    for command, figures in found.items():
        counted = f"{figures['instructions'] / 1e3:8.1f} k instructions a pair" if given.counted else ""
        print(f"{command:8}{figures['cpu_micros']:8.1f} us of CPU a pair{counted}")
    if given.json is not None:
        given.json.write_text(json.dumps({"machine": machine(), "second": found}, indent=1), "utf-8")


if __name__ == "__main__":
    main()
