"""Batches against single requests, on the sandbox as it plays Huawei Cloud.

    python -m tests.benchmarks.batches [--images 100] [--projects 100]

Each request takes 100 ms, each job 2.5 s, and bulkshare sends no more than 10 requests a second. The delays are the
sandbox's: no one outside knows those of the cloud. Pair by pair, a tenth of the images is shared, as all would take a
quarter of an hour. The vendor's SDK, in 16 threads, has no limit, so it sends as fast as it can.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bulkshare.sandbox import Cloud

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COMMAND = Path(sys.executable).with_name("bulkshare")
SDK_LOOP = Path(__file__).with_name("ims_loop.py")
RATE = 10


class Measured(NamedTuple):
    """What one way took."""

    pairs: int
    seconds: float
    requests: int


@contextmanager
def sandbox(folder: Path, images: int, projects: int) -> Iterator[Path]:
    """Start a new sandbox, and give its clouds.yaml."""
    words = ["sandbox", "--dialect", "huawei", "--latency", "100ms", "--answer", "job_seconds=2.5"]
    process = subprocess.Popen(
        [COMMAND, *words, "--images", str(images), "--projects", str(projects)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        lines = []
        while (line := process.stdout.readline()).strip():
            lines.append(line)
        clouds = folder / "clouds.yaml"
        clouds.write_text("".join(lines), "utf-8")
        yield clouds
    finally:
        process.terminate()
        process.wait()


def bulkshare(folder: Path, images: int, projects: int, api: str, batch: int) -> Measured:
    """Share so many images with so many projects of a new sandbox."""
    with sandbox(folder, images, projects) as clouds:
        (folder / "plan.yaml").write_text(
            f"version: 1\nname: batches\ncloud: sandbox\napi: {api}\nlimits: {{rate: {RATE}, batch: {batch}}}\n"
            "share:\n  - {images: [{tag: golden}], projects: [{name: 'project-*'}]}\n",
            "utf-8",
        )
        began = time.monotonic()
        done = subprocess.run(
            [COMMAND, "run", "plan.yaml", "--ledger", "ledger.db", "--json"],
            cwd=folder,
            env={**os.environ, "OS_CLIENT_CONFIG_FILE": str(clouds)},
            capture_output=True,
            text=True,
            check=True,
        )
        seconds = time.monotonic() - began
    summary = json.loads(done.stdout)
    assert summary["shared"] == images * projects
    return Measured(summary["shared"], seconds, summary["requests"])


def sdk(folder: Path, images: int, projects: int) -> Measured:
    """Share with the vendor's SDK; its requests are the pairs."""
    cloud = Cloud.sample(images, projects)  # as the sandbox's: IDs depend on names only
    others = [project_id for project_id in cloud.projects if project_id != cloud.admin_project.id]
    pairs = folder / "pairs"
    pairs.write_text("".join(f"{image} {project}\n" for image in cloud.images for project in others), "utf-8")
    with sandbox(folder, images, projects) as clouds:
        began = time.monotonic()
        subprocess.run([sys.executable, SDK_LOOP, clouds, pairs], check=True)
        seconds = time.monotonic() - began
    return Measured(images * projects, seconds, images * projects)


def main() -> None:
    """Measure each way, and print a table and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--projects", type=int, default=100)
    given = parser.parse_args()
    few = max(given.images // 10, 1)
    ways: dict[str, Callable[[Path], Measured]] = {
        "pair by pair": partial(bulkshare, images=few, projects=given.projects, api="native", batch=100),
        "batches of 100": partial(bulkshare, images=given.images, projects=given.projects, api="batch", batch=100),
        "batches of 500": partial(bulkshare, images=given.images, projects=given.projects, api="batch", batch=500),
        "SDK, 16 threads": partial(sdk, images=few, projects=given.projects),
    }
    alone = 0.0
    for name, measure in ways.items():
        with tempfile.TemporaryDirectory() as folder:
            found = measure(Path(folder))
        speed = found.pairs / found.seconds
        alone = alone or speed
        print(
            f"{name:15} {found.pairs:6,} pairs {found.seconds:7.1f} s {speed:7.1f} pairs/s {speed / alone:5.1f} times, "
            f"{100 * found.requests / found.pairs:6.1f} requests per hundred pairs"
        )


if __name__ == "__main__":
    main()
