"""The exceptions that stop a run, each with the exit code of the command.

An answer about one pair is never an exception: it is a `Verdict`. Bugs raise other exceptions, which propagate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bulkshare.model import Problem


class BulkshareError(Exception):
    """A run can't start or can't continue. `str()` is a message for the user, without secrets."""

    exit_code: ClassVar[int] = 1


class UsageError(BulkshareError):
    """What the user asked for can't be done as asked: an option, a name, an unknown run."""

    exit_code = 2


class PlanError(BulkshareError):
    """The plan is invalid. `problems` has everything that is wrong with it, in file order."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class CloudChangedError(UsageError):
    """The cloud is no longer as it was when a plan was saved, or that can't be checked. Nothing was sent."""

    exit_code = 12


class CredentialsRefusedError(BulkshareError):
    """The cloud rejects our credentials, or its catalog has no image service."""

    exit_code = 3


class EndpointRefusedError(BulkshareError):
    """An endpoint can't be trusted: its certificate does not verify or its address is unsafe. Nothing was sent."""

    exit_code = 3


class NoRoleError(CredentialsRefusedError):
    """Our user can't get a token for a project, because it has no role there. The run itself may continue."""


class DirectoryError(BulkshareError):
    """Projects or images can't be looked up: our user lacks permission, or the service does not answer."""

    exit_code = 3


class UnlistedError(BulkshareError):
    """An image was not pruned because its members can't be listed, and it has no pair whose result would show it."""


class LedgerError(BulkshareError):
    """The ledger can't be opened, read or written. Without it nothing may be sent."""

    exit_code = 4


class StoppedEarlyError(BulkshareError):
    """The run stopped early: the endpoint was down for too long, or a limit set by the user was reached."""

    exit_code = 5


class LockHeldError(BulkshareError):
    """Another run of this plan is using this ledger (EX_TEMPFAIL in sysexits.h: try again later)."""

    exit_code = 75


class InterruptedRunError(BulkshareError):
    """A signal stopped the run; the requests in flight have been recorded (128 + SIGINT)."""

    exit_code = 130


def leading_error(group: BaseExceptionGroup) -> BaseException:
    """Return the exception that says most to the user: a lost ledger first, then a bug, then a refusal."""
    leaves = list(_leaves(group))
    return next(
        (leaf for leaf in leaves if isinstance(leaf, LedgerError)),
        next((leaf for leaf in leaves if not isinstance(leaf, BulkshareError)), leaves[0]),
    )


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
