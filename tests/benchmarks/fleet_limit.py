"""What a fleet's coordinator costs: how many workers one can keep busy.

The same plan on nginx, by bulkshare alone and by a fleet whose scheduler and workers are processes of their own, with
TLS. What is taken of the fleet is its coordinator: what the workers take is what bulkshare alone takes, elsewhere.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from tests.benchmarks.client_limit import client_limit
from tests.fleet.worker_pool import DaskWorkerPool
from tests.shell import Shell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.benchmarks.client_limit import ClientLimit
    from tests.benchmarks.measure import Taken

WORKERS = 2


@contextmanager
def with_fleet(pairs: int) -> Iterator[tuple[ClientLimit, str]]:
    """Serve and start a fleet; yield the contest, and the address of the fleet's scheduler."""
    with client_limit(pairs) as contest:
        shell = Shell(contest.directory)
        shell.env |= contest.environment
        with DaskWorkerPool(shell) as pool:
            contest.environment |= pool.environment
            pool.start_workers(WORKERS)
            yield contest, pool.address


@contextmanager
def fleet_limit(pairs: int) -> Iterator[dict[str, Callable[[], Taken]]]:
    """Serve, start a fleet, and yield who competes, by name."""
    with with_fleet(pairs) as (contest, address):
        yield {
            "bulkshare alone": contest.bulkshare,
            f"coordinator of {WORKERS} workers": partial(contest.bulkshare, "--fleet", address),
        }
