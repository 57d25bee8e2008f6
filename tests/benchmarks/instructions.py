"""How many instructions a command executes, and each further pair: the same on a busy machine, within 2 %.

    python -m tests.benchmarks.instructions [--only start|pair|fleet] [--json FILE]

Needs valgrind, whose callgrind counts, and nginx, which answers. `start` has the commands that people wait for, with
one pair; `pair` has the difference between two lengths of the same run, beside that of a bare aiohttp loop, so that
start-up and log-in cancel out; `fleet` has the same difference of the coordinator of two workers.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.client_limit import ClientLimit, client_limit
from tests.benchmarks.fleet_limit import with_fleet
from tests.benchmarks.measure import BULKSHARE, caching, machine

if TYPE_CHECKING:
    from collections.abc import Sequence

COLLECTED = re.compile(r"Collected : (\d+)")
FEW, MANY = 1_000, 4_000  # pairs of the two runs
FLEET_FEW, FLEET_MANY = 4_000, 16_000  # a coordinator does less for a pair
# What a run does by the clock, outcomes committed four times a second and a heartbeat each second, would be counted
# fifty times as often as it happens, since that is how much slower a program is under callgrind.
SLOWED = """
from bulkshare.__main__ import main
from bulkshare.engine import writer
from bulkshare.operations import steering
writer.GROUP_WAIT_SECONDS *= 50
steering.BEAT_SECONDS *= 50
main()
"""
START = {
    "bulkshare --help": ["--help"],
    "bulkshare check": ["check", "plan.yaml"],
    "bulkshare run": ["run", "-q", "plan.yaml"],
    "bulkshare show": ["show"],
    "bulkshare runs": ["runs"],
    "bulkshare export": ["export"],
}


def count(command: Sequence[str], limit: ClientLimit) -> int:
    """Return how many instructions a command executes, with its modules compiled already."""
    counted = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable, *command]
    done = subprocess.run(
        counted,
        capture_output=True,
        text=True,
        check=False,
        cwd=limit.directory,
        env={**caching(limit.environment), "PYTHONHASHSEED": "0"},
    )
    found = COLLECTED.search(done.stderr)
    if done.returncode or found is None:
        raise SystemExit(f"{' '.join(command)} exited with {done.returncode}: {done.stderr[-2000:]}")
    return int(found[1])


def start() -> dict[str, int]:
    """Return the instructions of each command, with one pair."""
    with client_limit(1, images=1) as limit:
        limit.bulkshare("-q")  # compiles the modules
        return {name: count([BULKSHARE, *command], limit) for name, command in START.items()}


def pair(*, tls: bool) -> dict[str, float]:
    """Return the instructions of each further pair."""
    found: dict[str, list[int]] = {"bare aiohttp loop": [], "bulkshare": []}
    for pairs in (FEW, MANY):
        with client_limit(1, images=1, tls=tls) as limit:
            limit.bulkshare("-q")  # compiles the modules
        with client_limit(pairs, tls=tls) as limit:
            found["bare aiohttp loop"].append(count(limit.bare, limit))
            found["bulkshare"].append(count(["-c", SLOWED, "run", "-q", "plan.yaml"], limit))
    return {name: (many - few) / (MANY - FEW) for name, (few, many) in found.items()}


def coordinator() -> float:
    """Return the instructions of each further pair of a fleet's coordinator."""
    counts = []
    for pairs in (FLEET_FEW, FLEET_MANY):
        with with_fleet(pairs) as (limit, address):
            command = ["--fleet", address]
            limit.bulkshare(*command)  # compiles the modules, and lets the workers import theirs
            for part in limit.directory.glob("ledger.db*"):
                part.unlink()
            counts.append(count([BULKSHARE, "run", "-q", "plan.yaml", *command], limit))
    return (counts[1] - counts[0]) / (FLEET_MANY - FLEET_FEW)


def main() -> None:
    """Count, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=["start", "pair", "fleet"], help="count only this")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    given = parser.parse_args()
    document: dict[str, object] = {"machine": machine("sqlalchemy", "openstacksdk", "pydantic", "aiohttp")}
    if given.only in {None, "start"}:
        document["start"] = started = start()
        print("\n".join(f"{name:24} {number / 1e9:6.2f} G" for name, number in started.items()))
    if given.only in {None, "pair"}:
        document["pair"], document["pair with TLS"] = pairs = pair(tls=False), pair(tls=True)
        for name in pairs[0]:
            print(f"{name:24} {pairs[0][name] / 1e3:6.0f} k a pair, {pairs[1][name] / 1e3:6.0f} k with TLS")
    if given.only in {None, "fleet"}:
        document["coordinator"] = counted = coordinator()
        print(f"{'coordinator of a fleet':24} {counted / 1e3:6.0f} k a pair")
    if given.json is not None:
        given.json.write_text(json.dumps(document, indent=1), "utf-8")


if __name__ == "__main__":
    main()
