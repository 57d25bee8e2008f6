"""Which functions one pair passes, from the pool to the socket and back into the ledger. Run by hand; prints the list.

A plan of one pair is run by the real command line on a sandbox in another process. Counted are the functions of
`bulkshare`, and their modules, that are called from the moment the pool takes the pair until its outcome has been
committed and the observers have been notified. A comprehension or lambda counts as part of the function around it.
What was called before and only resumes (the workers' task group, the CLI) does not count; neither do idle workers.
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
FIRST, LAST = "engine.dispatch.Dispatch.next", "engine.writer.Recorder._settle"
COMMIT = "ledger.ledger.SqlLedger.settle"
UNNAMED = {"<module>", "<lambda>", "<genexpr>", "<listcomp>", "<setcomp>", "<dictcomp>"}


class PairPath:
    """The functions that were called, as (module, name), in the order of their first call."""

    def __init__(self) -> None:
        self.functions: dict[tuple[str, str], None] = {}
        self._suspended: set[FrameType] = set()
        self._open = self._closed = False

    def profile(self, frame: FrameType, event: str, argument: Any) -> None:
        """Note a call; see `sys.setprofile`."""
        code = frame.f_code
        path = Path(code.co_filename)
        if self._closed or event not in {"call", "return"} or PACKAGE not in path.parents or code.co_name in UNNAMED:
            return
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        name = f"{module}.{code.co_qualname}"
        if event == "call":
            if self._open and frame not in self._suspended:
                self.functions.setdefault((module, code.co_qualname))
            self._suspended.add(frame)
        elif name == FIRST and argument is not None:
            self._open = True
        elif name == LAST and self._committed:
            self._closed = True

    @property
    def _committed(self) -> bool:
        return any(f"{module}.{name}" == COMMIT for module, name in self.functions)

    @property
    def modules(self) -> set[str]:
        """The modules of the functions."""
        return {module for module, _ in self.functions}


def measure(directory: Path) -> PairPath:
    """Run one pair and return its path."""
    shell = Shell(directory)
    shell.start_sandbox("--images", "1", "--projects", "1")
    try:
        cloud = Cloud.sample(1, 1)
        (image,) = cloud.images
        plan = shell.plan([image], list(cloud.projects)[-1:])
        os.environ.update(shell.env, XDG_STATE_HOME=str(directory))
        taken = PairPath()
        threading.setprofile(taken.profile)
        sys.setprofile(taken.profile)
        try:
            with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
                main(["run", str(directory / plan), "--os-cloud", "sandbox"], standalone_mode=False)
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
        return taken
    finally:
        shell.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="bulkshare-path-") as folder:
        path = measure(Path(folder))
    for number, (module, function) in enumerate(path.functions, 1):
        print(f"{number:3} {module}.{function}")
    print(f"{len(path.functions)} functions in {len(path.modules)} modules")
