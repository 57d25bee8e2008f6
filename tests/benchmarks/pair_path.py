"""Which functions one pair passes, from the pool to the socket and back. Run by hand; prints the list.

A plan is run by the real command line on a sandbox in another process, with one request in flight. Listed are the
functions of `bulkshare` that are called for its second pair: from the moment the pool takes it until its outcome is
queued for the ledger, and then those that commit a group of up to 512 outcomes and notify the observers. The second
pair, because the first one of an image also opens its lane and fills caches. Comprehensions and lambdas count as part
of the function around them; a suspended coroutine that resumes was called before, and counts for what called it.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bulkshare
from bulkshare.cli import main
from bulkshare.sandbox import Cloud
from tests.shell import Shell

if TYPE_CHECKING:
    from types import FrameType

PACKAGE = Path(bulkshare.__file__).parent
TAKEN, QUEUED = ("engine.dispatch", "Dispatch.next"), ("engine.writer", "Recorder.room")
COMMITTING = ("engine.writer", "Recorder._commit")
WRITTEN, NOTIFIED = ("ledger.ledger", "SqlLedger.settle"), ("engine.writer", "Recorder._settle")
UNNAMED = {"<module>", "<lambda>", "<genexpr>", "<listcomp>", "<setcomp>", "<dictcomp>"}
PAIRS = 100

Functions = dict[tuple[str, str], None]


class PairPath:
    """The functions called for a pair and for a group, as (module, name), in the order of their first call."""

    def __init__(self) -> None:
        self.pair: Functions = {}
        self.group: Functions = {}
        self._now: Functions | None = None
        self._taken = 0
        self._called: set[FrameType] = set()

    def profile(self, frame: FrameType, event: str, argument: Any) -> None:
        """Note a call; see `sys.setprofile`."""
        code = frame.f_code
        path = Path(code.co_filename)
        if event not in {"call", "return"} or PACKAGE not in path.parents or code.co_name in UNNAMED:
            return
        function = ".".join(path.relative_to(PACKAGE).with_suffix("").parts), code.co_qualname
        if event == "call":
            if function == COMMITTING and self.pair and not self.group:
                self._now = self.group
            if self._now is not None and frame not in self._called:
                self._now.setdefault(function)
            self._called.add(frame)
        elif function == TAKEN and argument is not None:
            self._taken += 1
            if self._taken == 2:
                self._now = self.pair
                self._now.setdefault(TAKEN)
        elif (function == QUEUED and self._now is self.pair) or (function == NOTIFIED and WRITTEN in self.group):
            self._now = None


def measure(directory: Path) -> PairPath:
    """Run a plan and return the path of its second pair."""
    shell = Shell(directory)
    shell.start_sandbox("--images", "1", "--projects", str(PAIRS))
    try:
        cloud = Cloud.sample(1, PAIRS)
        plan = shell.plan(
            list(cloud.images), list(cloud.projects)[-PAIRS:], more="limits: {concurrency: 1, rate: 1000}\n"
        )
        os.environ.update(shell.env, XDG_STATE_HOME=str(directory))
        path = PairPath()
        threading.setprofile(path.profile)
        sys.setprofile(path.profile)
        try:
            with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
                main(["run", str(directory / plan), "--os-cloud", "sandbox"], standalone_mode=False)
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
        return path
    finally:
        shell.close()


def show(title: str, functions: Functions) -> None:
    """Print a list."""
    print(f"{title}: {len(functions)} functions in {len({module for module, _ in functions})} modules")
    for number, (module, function) in enumerate(functions, 1):
        print(f"{number:3} {module}.{function}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="bulkshare-path-") as folder:
        measured = measure(Path(folder))
    show("a pair", measured.pair)
    show("a group of pairs, committed", measured.group)
