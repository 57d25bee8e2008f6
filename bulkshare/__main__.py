"""The `bulkshare` command; also `python -m bulkshare`.

This module handles what may happen before the command line is there and after it is done: a signal while Python
imports or ends, a standard stream that was closed, a package that can't be imported.
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from types import FrameType

INTERRUPTED = 130  # those of cli.exit_status, which is not imported yet
BAD_USAGE = 2
# New objects before Python looks for reference cycles. Its default of 700 is reached with each page of rows, and a
# quarter of an export would be spent in looking; cycles are few here.
GC_THRESHOLD = 10_000


def main() -> NoReturn:
    """Run the command line, and exit with its status."""
    gc.set_threshold(GC_THRESHOLD)
    _open_streams()
    # `nohup` ignores SIGHUP, and that stays.
    signals = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) != signal.SIG_IGN]
    for number in signals:
        signal.signal(number, _interrupt)
    status = _run()
    # The result has been printed: a signal while Python ends changes nothing about it.
    for number in signals:
        signal.signal(number, lambda *_: os._exit(status))
        atexit.register(signal.signal, number, signal.SIG_IGN)  # before Python restores the default, to kill
    sys.exit(status)


def _run() -> int:
    try:
        from bulkshare.cli import main as program  # noqa: PLC0415  may fail, or be interrupted

        program()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        sys.stderr.write("bulkshare: interrupted\n")
        return INTERRUPTED
    except ImportError as error:
        sys.stderr.write(f"bulkshare: this installation is broken, install it again: {error}\n")
        return BAD_USAGE
    return 0


def _interrupt(_: int, frame: FrameType | None) -> None:
    """Do what Ctrl-C does at this moment: raise KeyboardInterrupt, or cancel the event loop's main task."""
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):  # a shell's background job ignores SIGINT
        raise KeyboardInterrupt
    handler(signal.SIGINT, frame)


def _open_streams() -> None:
    """Open what was closed before Python started, lest the next file get the descriptor of stderr."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest one that is free
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  for as long as the process lives


if __name__ == "__main__":
    main()
