"""Where a run comes from: the command, the plan's file, the machine and its user."""

from __future__ import annotations

import getpass
import hashlib
import os
import socket
from typing import TYPE_CHECKING

from bulkshare._version import __version__
from bulkshare.model import Origin
from bulkshare.plan.load import is_piped
from bulkshare.text import without_secrets

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def current_origin(arguments: Sequence[str] | None = None, *, plan: Path | None = None, raw: bytes = b"") -> Origin:
    """Return the origin of what this process does.

    arguments: the command line after the program's name; None: there is none.
    plan, raw: the plan's file and its bytes, if one was read.
    """
    return Origin(
        plan_file="" if plan is None or is_piped(plan) else str(plan.absolute()),
        plan_sha256="" if plan is None else hashlib.sha256(raw).hexdigest(),
        version=__version__,
        command="" if arguments is None else without_secrets(["bulkshare", *arguments]),
        os_user=_os_user(),
        host=socket.gethostname(),
    )


def _os_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in many containers
        return str(os.getuid())
