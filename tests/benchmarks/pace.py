"""How exactly the rate is kept: runs at 10, 100 and 1,000 requests a second, as the server sees them come."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.client_limit import ids
from tests.benchmarks.measure import BULKSHARE, take
from tests.benchmarks.stub import Stub, environment

RATES = (10, 100, 1000)
PROJECTS = 100
ON_THE_WAY_SECONDS = 0.002  # by how much two requests may be nearer at the server than they left


@dataclass(frozen=True)
class Pace:
    """What came at the server: how many a second on the whole, and in its fullest second (less 2 ms on the way)."""

    rate: int
    requests: int
    per_second: float
    fullest_second: int


def keep_pace(rates: tuple[int, ...], seconds: float) -> list[Pace]:
    """Run at each rate for about so long; return what came."""
    directory = Path(tempfile.mkdtemp(prefix="bulkshare-pace-"))
    stub = Stub(directory)
    try:
        return [_at_rate(directory, stub, rate, seconds) for rate in rates]
    finally:
        stub.close()
        shutil.rmtree(directory)


def _at_rate(directory: Path, stub: Stub, rate: int, seconds: float) -> Pace:
    stub.ask("DELETE")
    pairs = max(int(rate * seconds), 2)
    projects = min(pairs, PROJECTS)
    limits = {"concurrency": 64, "rate": rate, "per_image": 64, "members_per_image": 0}
    plan = {"version": 1, "name": f"pace-{rate}", "cloud": "stub", "check_projects": "never", "limits": limits}
    plan["share"] = [{"images": ids("image", pairs // projects), "projects": ids("project", projects)}]
    (directory / "plan.yaml").write_text(json.dumps(plan), "utf-8")  # JSON is YAML
    take([BULKSHARE, "run", "-q", "plan.yaml"], pairs, directory=directory, environment=environment(directory))
    return judge(rate, stub.times()[1:])


def judge(rate: int, times: list[float]) -> Pace:
    """Return what the times of arrival say, in seconds on any one clock."""
    first, fullest = 0, 0
    for last, at in enumerate(times):
        while at - times[first] >= 1.0 - ON_THE_WAY_SECONDS:
            first += 1
        fullest = max(fullest, last - first + 1)
    return Pace(rate, len(times), (len(times) - 1) / (times[-1] - times[0]), fullest)
