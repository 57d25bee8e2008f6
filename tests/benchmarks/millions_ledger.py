"""Makes a ledger of many settled pairs without any cloud: a run of a plan each night, and the last one left early.

    python tests/benchmarks/millions_ledger.py LEDGER --endpoint URL --rows 10000000 [--nights 10] [--projects 500]

The first night shares, the others find members there; in every run, one pair in a hundred is rejected. Of the last run
`--pending` pairs are left. Prints how long it took.
"""

from __future__ import annotations

import argparse
import json
import time
import uuid
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from bulkshare.ledger import SqlLedger
from bulkshare.model import Account, Block, Limits, Outcome, Result, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = "c0ffee00c0ffee00c0ffee00c0ffee00"  # the stub's
SETTLED_AT_ONCE = 5_000
NAMESPACE = uuid.UUID("6ba7b812-9dad-11d1-80b4-00c04fd430c8")


def outcomes(blocks: list[Block], first_at: datetime, began_at: datetime) -> Iterator[Outcome]:
    """Yield what a run against a real cloud would record: each pair with times and a request ID of its own."""
    number = 0
    result = Result.SHARED if began_at == first_at else Result.ALREADY
    for block in blocks:
        created_at = (first_at + timedelta(seconds=number // 1000)).replace(microsecond=0)
        for member_id in block.member_ids:
            number += 1
            settled_at = began_at + timedelta(milliseconds=number)
            shared = Outcome(
                block.image_id,
                member_id,
                result,
                http_status=200,
                status="pending",
                created_at=created_at,
                updated_at=created_at,
                schema="/v2/schemas/member",
                attempts=1 if result is Result.SHARED else 0,
                request_id=f"req-{uuid.UUID(int=number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128)}",
                started_at=settled_at - timedelta(milliseconds=40),
                settled_at=settled_at,
            )
            if number % 100:
                yield shared
            else:
                reason = f"Not allowed to create members for image {block.image_id}."
                yield shared._replace(
                    result=Result.REJECTED,
                    attempts=1,
                    http_status=403,
                    status=None,
                    created_at=None,
                    updated_at=None,
                    schema=None,
                    reason=reason,
                )


def main() -> None:
    """Make the ledger."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ledger")
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--nights", type=int, default=10)
    parser.add_argument("--projects", type=int, default=500)
    parser.add_argument("--pending", type=int, default=1000)
    options = parser.parse_args()
    account = Account("stub", "stub", options.endpoint, "stub", "stub", PROJECT)
    settings = Settings(cloud="stub", limits=Limits(concurrency=64, rate=1_000_000.0, per_image=64))
    projects = tuple(uuid.uuid5(NAMESPACE, f"project {n}").hex for n in range(options.projects))
    images = options.rows // options.nights // options.projects
    blocks = [Block(str(uuid.uuid5(NAMESPACE, f"image {n}")), projects) for n in range(images)]
    pairs = images * options.projects
    enqueuing = settling = 0.0
    ledger = SqlLedger.open(options.ledger)
    first_at = datetime.now(UTC) - timedelta(days=options.nights)
    for night in range(options.nights):
        began_at = first_at + timedelta(days=night)
        run = ledger.begin(plan="nightly", fingerprint="1" * 64, account=account, now=began_at, settings=settings)
        started = time.monotonic()
        ledger.enqueue(run.id, blocks)
        ledger.mark_enqueued(run.id)
        enqueued = time.monotonic()
        pending = options.pending if night == options.nights - 1 else 0
        rows = islice(outcomes(blocks, first_at, began_at), pairs - pending)
        while some := list(islice(rows, SETTLED_AT_ONCE)):
            ledger.settle(run.id, some)
        ledger.finish(run.id, now=began_at + timedelta(hours=1), requests=pairs - pending, retries=0, seconds=3600.0)
        enqueuing += enqueued - started
        settling += time.monotonic() - enqueued
    ledger.close()
    bytes_ = sum(part.stat().st_size for part in Path(options.ledger).parent.glob(f"{Path(options.ledger).name}*"))
    told = {"rows": pairs * options.nights, "bytes": bytes_, "enqueuing": enqueuing, "settling": settling}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
