"""What a ledger takes in a file, in PostgreSQL and in MariaDB, side by side: time and bytes.

    python -m tests.benchmarks.ledgers [--pairs 100000] [--rounds 3] [--json FILE]

Servers are started on loopback, where they are installed. Pairs are settled in the groups in which an engine does it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import create_engine, text

from bulkshare.engine.writer import GROUP
from bulkshare.ledger import SqlLedger
from bulkshare.model import Account, Block, Outcome, Result
from tests.benchmarks.client_limit import ids
from tests.benchmarks.measure import machine
from tests.databases import SERVERS, Missing

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ACCOUNT = Account("prod", "eu", "https://images.example", "alice", "golden", "0123456789abcdef0123456789abcdef")
MEMBERS = 500
STEPS = ("enqueue", "settle", "read")
BYTES = "bytes a pair"
# Of all tables with their indexes, as the server has them in files; MariaDB first has to look.
SIZES = {
    "postgresql": (
        "VACUUM ANALYZE",
        "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' AND "
        "relnamespace = 'public'::regnamespace",
    ),
    "mysql": (
        "ANALYZE TABLE names, pairs",
        "SELECT sum(data_length + index_length) FROM information_schema.tables WHERE table_schema = DATABASE()",
    ),
}


def settled(image: str, member: str, number: int) -> Outcome:
    """Return an outcome with all its fields."""
    return Outcome(
        image,
        member,
        Result.SHARED,
        http_status=200,
        status="pending",
        created_at=NOW,
        updated_at=NOW,
        schema="/v2/schemas/member",
        attempts=1,
        request_id=f"req-{number:08x}-89ab-4def-8123-456789abcdef",
        started_at=NOW,
        settled_at=NOW,
    )


def fill(where: str, pairs: int) -> dict[str, float]:
    """Put pairs into a new ledger and read them back; return the pairs in a second of each step."""
    images, members = ids("image", max(pairs // MEMBERS, 1)), ids("project", min(pairs, MEMBERS))
    count = len(images) * len(members)
    outcomes = [settled(i, m, n * MEMBERS + k) for n, i in enumerate(images) for k, m in enumerate(members)]
    took = {}
    ledger = SqlLedger.open(where)
    run = ledger.begin(plan="benchmark", fingerprint="f" * 64, account=ACCOUNT, now=NOW)
    began = time.perf_counter()
    ledger.enqueue(run.id, [Block(image, members) for image in images])
    took["enqueue"] = time.perf_counter() - began
    began = time.perf_counter()
    for first in range(0, count, GROUP):
        ledger.settle(run.id, outcomes[first : first + GROUP])
    took["settle"] = time.perf_counter() - began
    began = time.perf_counter()
    read = sum(1 for _ in ledger.outcomes(run.id, results=frozenset({Result.SHARED})))
    took["read"] = time.perf_counter() - began
    ledger.close()
    if read != count:
        raise SystemExit(f"{where} has {read} of {count} pairs")
    return {**{step: count / seconds for step, seconds in took.items()}, BYTES: size(where) / count}


def size(where: str) -> int:
    """Return how many bytes a closed ledger takes."""
    if "://" not in where:
        return Path(where).stat().st_size
    engine = create_engine(where, isolation_level="AUTOCOMMIT")
    prepare, ask = SIZES[engine.dialect.name]
    with engine.connect() as connection:
        connection.execute(text(prepare))
        found = int(connection.scalar(text(ask)) or 0)
    engine.dispose()
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bulkshare-ledgers-")))
        names = iter(range(options.rounds + 1))
        places: dict[str, Callable[[], str]] = {"sqlite": lambda: str(directory / f"{next(names)}.db")}
        for name, make in SERVERS.items():
            try:
                places[name] = stack.enter_context(make()).new_database
            except Missing as missing:
                print(missing)
        seen: dict[str, list[dict[str, float]]] = {name: [] for name in places}
        for _ in range(options.rounds):
            for name, new_place in places.items():
                seen[name].append(fill(new_place(), options.pairs))
    medians = {
        name: {step: statistics.median(took[step] for took in rounds) for step in (*STEPS, BYTES)}
        for name, rounds in seen.items()
    }
    told = machine("sqlalchemy", "psycopg", "pymysql")
    print(", ".join(f"{name} {value}" for name, value in told.items()))
    print(
        f"{options.pairs:,} pairs, a second, medians of {options.rounds}\n{'':12}"
        + "".join(f"{step:>14}" for step in (*STEPS, BYTES))
    )
    for name, median in medians.items():
        print(f"{name:12}" + "".join(f"{median[step]:14,.0f}" for step in median))
    if options.json is not None:
        options.json.write_text(json.dumps({"machine": told, "ledgers": medians}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
