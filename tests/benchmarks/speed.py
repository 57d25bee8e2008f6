"""How fast bulkshare is, beside what there is to compare it to. One command; prints tables, and JSON where asked.

    python -m tests.benchmarks.speed [PART ...] [--rounds 5] [--json FILE]

Parts: `others` (a real Glance: the clients people use today), `limit` (nginx: the client's own limit), `fleet` (nginx:
what a fleet's coordinator costs), `pace` (how exactly the rate is kept) and `start` (how long it takes to begin). All
parts without any. `limit` and `fleet` need nginx, and `limit` has wrk where it is installed; `others` has glance where
it is. Every contender has its turn in each round; the tables have medians. CPU is that of the whole process, start-up
included.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.benchmarks.client_limit import client_limit
from tests.benchmarks.fleet_limit import fleet_limit
from tests.benchmarks.measure import further, interleaved, machine, median_of
from tests.benchmarks.others import Sizes, others
from tests.benchmarks.pace import RATES, keep_pace
from tests.benchmarks.start_up import start_up

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.benchmarks.measure import Taken

PARTS = ("others", "limit", "fleet", "pace", "start")
FULL_PAIRS, SMALL_PAIRS = 50_000, 500
PART = 5  # of a whole run: what the other four fifths take is the steady state
FULL_SECONDS, SMALL_SECONDS = 10.0, 1.0
SMALL = Sizes(command_line=1, serial=2, others=100, in_flight=(4,))


def compare(title: str, contenders: Mapping[str, Callable[[], Taken]], rounds: int) -> dict[str, Any]:
    """Let everyone have their turns, print the medians, and return them."""
    taken = interleaved(contenders, rounds)
    return tell(title, {name: (median_of(takes), takes) for name, takes in taken.items()}, rounds)


def tell(title: str, medians: Mapping[str, tuple[Taken, Sequence[Taken]]], rounds: int) -> dict[str, Any]:
    """Print medians, and return them with the rounds that they are of."""
    print(f"\n{title}, medians of {rounds} rounds")
    print(f"{'':42}{'amount':>9}{'a second':>10}{'of work':>10}{'CPU us':>11}{'CPU s':>8}{'peak MB':>9}")
    told = {}
    for name, (median, takes) in medians.items():
        at_work = "" if median.per_work_second is None else f"{median.per_work_second:,.1f}"
        print(
            f"{name:42}{median.amount:9,}{median.per_second:10,.1f}{at_work:>10}"
            f"{median.cpu_micros:11,.1f}{median.cpu_seconds:8.3f}{median.peak_bytes / 1e6:9.0f}"
        )
        told[name] = {**asdict(median), "rounds": [asdict(taken) for taken in takes]}
    return told


def run_others(rounds: int, *, small: bool) -> dict[str, Any]:
    """Take the clients on a real Glance."""
    with others(SMALL if small else Sizes()) as contest:
        told = compare("Pairs on a real Glance", contest.contenders(), rounds)
        print(f"requests of bulkshare: {contest.requests}")
        return {**told, "requests": contest.requests}


def run_limit(rounds: int, *, small: bool) -> dict[str, Any]:
    """Take the client's own limit, without and with TLS: of a whole run, and of what is left without its start."""
    told: dict[str, Any] = {}
    pairs = SMALL_PAIRS if small else FULL_PAIRS
    for name, tls in {"http": False, "https": True}.items():
        with client_limit(pairs, tls=tls) as whole, client_limit(pairs // PART, tls=tls) as part:
            fewer = {f"{contender}, fewer pairs": take for contender, take in part.compared().items()}
            taken = interleaved(whole.contenders() | fewer, rounds)
        medians = {contender: (median_of(takes), takes) for contender, takes in taken.items()}
        for contender in whole.compared():
            takes = taken[contender]
            medians[f"{contender}, steady state"] = further(takes, taken[f"{contender}, fewer pairs"]), takes
        told[name] = tell(f"Pairs on nginx, {name}", medians, rounds)
        for which in ("", ", steady state"):
            ours, bare = (medians[contender + which][0] for contender in ("bulkshare", "bare aiohttp loop"))
            cpu, throughput = ours.cpu_micros / bare.cpu_micros, ours.per_second / bare.per_second
            print(f"bulkshare{which}: {cpu:.2f} times the bare loop's CPU, {throughput:.2f} of its throughput")
            told[name][f"ratio{which}"] = {"cpu": cpu, "throughput": throughput}
    return told


def run_fleet(rounds: int, *, small: bool) -> dict[str, Any]:
    """Take what a fleet's coordinator costs."""
    with fleet_limit(SMALL_PAIRS if small else FULL_PAIRS) as contenders:
        return compare("Pairs on nginx, by a fleet", contenders, rounds)


def run_pace(_rounds: int, *, small: bool) -> dict[str, Any]:
    """Take how exactly the rate is kept."""
    paces = keep_pace(RATES, SMALL_SECONDS if small else FULL_SECONDS)
    print(f"\n{'rate':>8}{'requests':>10}{'a second':>10}{'fullest second':>16}")
    for pace in paces:
        print(f"{pace.rate:8,}{pace.requests:10,}{pace.per_second:10,.2f}{pace.fullest_second:16,}")
    return {str(pace.rate): asdict(pace) for pace in paces}


def run_start(rounds: int, *, small: bool) -> dict[str, Any]:
    """Take how long it takes to begin."""
    del small
    with start_up() as contenders:
        for begin in contenders.values():
            begin()  # warms the file cache and writes the .pyc files
        return compare("Starts", contenders, rounds)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="only to see that it runs")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    runs = {"others": run_others, "limit": run_limit, "fleet": run_fleet, "pace": run_pace, "start": run_start}
    document: dict[str, Any] = {"machine": machine("openstacksdk", "keystoneauth1", "distributed")}
    print(", ".join(f"{name} {value}" for name, value in document["machine"].items()))
    for part in options.parts or PARTS:
        document[part] = runs[part](options.rounds, small=options.small)
    if options.json is not None:
        options.json.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
