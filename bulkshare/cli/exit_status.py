"""How a command ends: the exit codes that scripts rely on, and a standard output that can't be written."""

from __future__ import annotations

import errno
import os
import signal
import stat
import sys
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING

from click.exceptions import Exit

from bulkshare.errors import (
    CloudChangedError,
    CredentialsRefusedError,
    InterruptedRunError,
    LedgerError,
    LockHeldError,
    StoppedEarlyError,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO


class ExitStatus(IntEnum):
    """Every code that a command exits with, apart from 141 (128 + SIGPIPE)."""

    AS_PLANNED = 0
    NOT_AS_PLANNED = 1
    BAD_USAGE = UsageError.exit_code
    REFUSED = CredentialsRefusedError.exit_code
    LEDGER_UNUSABLE = LedgerError.exit_code
    STOPPED_EARLY = StoppedEarlyError.exit_code
    CHANGES = 10
    CANT_BE_DONE = 11
    CLOUD_CHANGED = CloudChangedError.exit_code
    LOCK_HELD = LockHeldError.exit_code
    INTERRUPTED = InterruptedRunError.exit_code


EXIT_CODES = {
    ExitStatus.AS_PLANNED: "every pair is as planned",
    ExitStatus.NOT_AS_PLANNED: "finished, but some pairs are not as planned",
    ExitStatus.BAD_USAGE: "bad usage or plan; nothing was sent",
    ExitStatus.REFUSED: "credentials or endpoint refused",
    ExitStatus.LEDGER_UNUSABLE: "ledger unusable",
    ExitStatus.STOPPED_EARLY: "stopped early (endpoint down, --deadline, --max-failures); the rest is pending",
    ExitStatus.CHANGES: "diff, --dry-run: a run would change something; compare: a difference; audit: findings",
    ExitStatus.CANT_BE_DONE: "diff, --dry-run: something can't be done, or is unknown; audit: not all was checked",
    ExitStatus.CLOUD_CHANGED: "the cloud has changed since the plan was saved, or may have; nothing was sent",
    ExitStatus.LOCK_HELD: "another run of this plan holds the lock",
    ExitStatus.INTERRUPTED: "interrupted; the rest is pending",
}

# What write(2) reports about the file itself: disk full, quota, size limit, hardware, closed.
UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a stream is a terminal. It is None if it was closed before Python started."""
    return stream is not None and stream.isatty()


@contextmanager
def guarded_stdout() -> Iterator[None]:
    """Flush stdout at the end. A closed pipe (`| head`) ends the command silently, as SIGPIPE would.

    A terminal that was closed interrupts it.

    Raises `UsageError` if stdout can't be written for another reason.
    """
    try:
        try:
            yield
        finally:
            _flush()
    except BrokenPipeError:
        discard_stdout()
        raise Exit(128 + signal.SIGPIPE) from None
    except OSError as error:
        if is_hang_up(error):
            discard_stdout()
            raise Exit(ExitStatus.INTERRUPTED) from None
        if error.errno not in UNWRITABLE or error.filename is not None:  # a file name: it is another file's error
            raise
        discard_stdout()
        raise UsageError(f"can't write to stdout: {error.strerror}") from error


def is_hang_up(error: OSError) -> bool:
    """Return whether writing to stdout failed because it was a terminal that has been closed since."""
    if error.errno != errno.EIO or error.filename is not None:  # a file name: it is another file's error
        return False
    return stat.S_ISCHR(os.fstat(sys.stdout.fileno()).st_mode)


def _flush() -> None:
    """Flush stdout. If its terminal has been closed, what the command has done decides how it ends."""
    if sys.stdout is None:  # it was closed before Python started
        return
    try:
        sys.stdout.flush()
    except OSError as error:
        if not is_hang_up(error):
            raise
        discard_stdout()


def discard_stdout() -> None:
    """Discard what is still buffered and what follows: Python would try again at exit, and complain."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
