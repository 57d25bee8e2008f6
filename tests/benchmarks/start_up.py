"""How long it takes to begin: `--help`, `check` of a small plan, the first request of a run."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.measure import BULKSHARE, Taken, take
from tests.benchmarks.stub import Stub, environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PLAN = "version: 1\nname: small\ncloud: stub\ncheck_projects: never\nshare:\n  - images: [i]\n    projects: [p]\n"
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "python -c 'import click'": [sys.executable, "-c", "import click"],
    "bulkshare --help": [BULKSHARE, "--help"],
    "bulkshare run --help": [BULKSHARE, "run", "--help"],
    "bulkshare check": [BULKSHARE, "check", "plan.yaml"],
}


@contextmanager
def start_up() -> Iterator[dict[str, Callable[[], Taken]]]:
    """Yield what is to be taken, by name. The last one's work is over when its first request comes at the server."""
    directory = Path(tempfile.mkdtemp(prefix="bulkshare-start-"))
    (directory / "plan.yaml").write_text(PLAN, "utf-8")
    stub = Stub(directory)

    def first_request() -> Taken:
        stub.ask("DELETE")
        began = time.monotonic()
        taken = take([BULKSHARE, "run", "-q", "plan.yaml"], 1, directory=directory, environment=environment(directory))
        return replace(taken, work_seconds=stub.times()[0] - began)

    try:
        yield {
            **{name: partial(take, command, 1, directory=directory) for name, command in COMMANDS.items()},
            "bulkshare run, to its first request": first_request,
        }
    finally:
        stub.close()
        shutil.rmtree(directory)
