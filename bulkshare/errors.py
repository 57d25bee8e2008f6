"""The exceptions that stop a run, each with the exit code the command leaves with.

An answer about one pair is never an exception: it is a `Verdict`. Bugs are no subclass of these and propagate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bulkshare.model import Problem


class BulkshareError(Exception):
    """A run can't start or can't go on. `str()` is a sentence for the user, without secrets."""

    exit_code: ClassVar[int] = 1


class UsageError(BulkshareError):
    """What the user asked for can't be done as asked: an option, a name, an unknown run."""

    exit_code = 2


class PlanError(BulkshareError):
    """The plan is not usable. `problems` has all that is wrong with it, in the order of the file."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class CredentialsRefusedError(BulkshareError):
    """The cloud does not accept who we are, or does not tell where its image service is."""

    exit_code = 3


class EndpointRefusedError(BulkshareError):
    """An endpoint can't be trusted: its certificate does not verify or its address is unsafe. Nothing was sent."""

    exit_code = 3


class NoRoleError(CredentialsRefusedError):
    """Our user gets no token for a project, because it has no role there. It says nothing about the run."""


class DirectoryError(BulkshareError):
    """A cloud does not tell which projects or images there are: it may not be asked, or does not answer."""

    exit_code = 3


class LedgerError(BulkshareError):
    """The ledger can't be opened, read or written. Without it nothing may be sent."""

    exit_code = 4


class StoppedEarlyError(BulkshareError):
    """The run ended before its time: the endpoint was down for too long, or a limit that the user set was reached."""

    exit_code = 5


class LockHeldError(BulkshareError):
    """Another run of this plan is at work on this ledger (sysexits.h EX_TEMPFAIL: try again later)."""

    exit_code = 75


class InterruptedRunError(BulkshareError):
    """The user, or the machine going down, asked to stop; what was in flight is recorded (128 + SIGINT)."""

    exit_code = 130
