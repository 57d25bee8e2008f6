"""The console that all commands print on."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from rich.console import Console

from bulkshare.cli.exit_status import discard_stdout, is_hang_up, is_terminal

if TYPE_CHECKING:
    from typing import NoReturn

    from rich.console import RenderableType

WIDTH_WITHOUT_TERMINAL = 4000  # columns; a pipe or a file has no width, and no line for it is wrapped


class PlainConsole(Console):
    """A console that prints text as it is: no markup, no emoji, no highlighting.

    A terminal that was closed, or any stderr that can't be written, is no reason to end a run: the text is discarded.
    Another stdout that can't be written raises `OSError`.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        width = None if is_terminal(sys.stderr if stderr else sys.stdout) else WIDTH_WITHOUT_TERMINAL
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False, width=width)

    def on_broken_pipe(self) -> NoReturn:
        """Let the error through, which rich would turn into exit code 1."""
        raise  # noqa: PLE0704  rich calls this while it handles the error

    def __exit__(self, *exception: object) -> None:
        """Write what has been printed, as `Console` does at the end of each `print` and each refresh."""
        try:
            super().__exit__(*exception)
        except OSError as error:
            if not self.stderr:
                if not is_hang_up(error):
                    raise
                discard_stdout()
            with suppress(OSError):
                self.begin_capture()
                self.end_capture()  # empties the buffer, lest it grow with each refresh


def print_whole(content: RenderableType, *, stderr: bool = False) -> None:
    """Print something whose long lines the terminal wraps, so that an ID can be copied as a whole."""
    PlainConsole(stderr=stderr).print(content, crop=False)
