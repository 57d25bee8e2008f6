"""What becomes of a command whose stdout can't be written: a pipe that was closed, a full disk. Cheap to import."""

from __future__ import annotations

import errno
import os
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from click.exceptions import Exit

from bulkshare.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})


def is_terminal(stream: TextIO | None) -> bool:
    """Tell whether a stream is a terminal; one that was closed before we began is None."""
    return stream is not None and stream.isatty()


@contextmanager
def guarded_stdout() -> Iterator[None]:
    """Write out stdout at the end. A closed pipe (`| head`) ends the command quietly, as SIGPIPE would.

    Raises `UsageError` where stdout can't be written for another reason.
    """
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:  # it is None where it was closed before we began
                sys.stdout.flush()
    except BrokenPipeError:
        _drop_stdout()
        raise Exit(128 + signal.SIGPIPE) from None
    except OSError as error:
        if error.errno not in UNWRITABLE or error.filename is not None:  # then it is about another file
            raise
        _drop_stdout()
        raise UsageError(f"can't write to stdout: {error.strerror}") from error


def _drop_stdout() -> None:
    """Let what is still buffered go nowhere: Python would try again when it ends, and complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
