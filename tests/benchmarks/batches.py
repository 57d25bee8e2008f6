"""Batches against single requests, on the sandbox as it plays Huawei Cloud.

    python -m tests.benchmarks.batches [--images 100] [--projects 100]

Each request takes 100 ms, each job 2.5 s, and no more than 10 requests a second are sent. The delays are the sandbox's:
no one outside knows those of the cloud. Pair by pair, a tenth of the images is shared, as all would take a quarter of
an hour.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

COMMAND = Path(sys.executable).with_name("bulkshare")
RATE = 10


def measure(folder: Path, images: int, projects: int, api: str) -> dict[str, Any]:
    """Share so many images with so many projects of a new sandbox; return pairs, seconds and requests."""
    words = ["sandbox", "--dialect", "huawei", "--latency", "100ms", "--answer", "job_seconds=2.5"]
    sandbox = subprocess.Popen(
        [COMMAND, *words, "--images", str(images), "--projects", str(projects)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert sandbox.stdout is not None
        lines = []
        while (line := sandbox.stdout.readline()).strip():
            lines.append(line)
        (folder / "clouds.yaml").write_text("".join(lines), "utf-8")
        (folder / "plan.yaml").write_text(
            f"version: 1\nname: batches\ncloud: sandbox\napi: {api}\nlimits: {{rate: {RATE}}}\n"
            "share:\n  - {images: [{tag: golden}], projects: [{name: 'project-*'}]}\n",
            "utf-8",
        )
        began = time.monotonic()
        done = subprocess.run(
            [COMMAND, "run", "plan.yaml", "--ledger", f"{api}.db", "--json"],
            cwd=folder,
            env={**os.environ, "OS_CLIENT_CONFIG_FILE": str(folder / "clouds.yaml")},
            capture_output=True,
            text=True,
            check=True,
        )
        summary = json.loads(done.stdout)
        assert summary["shared"] == images * projects
        return {"pairs": summary["shared"], "seconds": time.monotonic() - began, "requests": summary["requests"]}
    finally:
        sandbox.terminate()
        sandbox.wait()


def main() -> None:
    """Measure both, and print a table and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--projects", type=int, default=100)
    given = parser.parse_args()
    rates = {}
    for api, images in (("native", max(given.images // 10, 1)), ("batch", given.images)):
        with tempfile.TemporaryDirectory() as folder:
            found = measure(Path(folder), images, given.projects, api)
        rates[api] = found["pairs"] / found["seconds"]
        per_hundred = 100 * found["requests"] / found["pairs"]
        print(
            f"{api:7} {found['pairs']:6,} pairs {found['seconds']:7.1f} s {rates[api]:7.1f} pairs/s "
            f"{per_hundred:6.1f} requests per hundred pairs"
        )
    print(f"batch / native: {rates['batch'] / rates['native']:.1f}")


if __name__ == "__main__":
    main()
