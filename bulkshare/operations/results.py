"""What an operation returns for each cloud."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import anyio

from bulkshare.errors import BulkshareError, PlanError, UsageError
from bulkshare.report import Summary, comparison_document, merged, summary_document

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from bulkshare.model import Account, Block, Orders, Run, Telemetry
    from bulkshare.report import Changes, Comparison


@dataclass(frozen=True, slots=True)
class EngineResult:
    """How the work on a run ended.

    error: what ended it early.
    to_set_shared: images that were, or without writes would have been, made `shared`.
    unpruned: as the engine's.
    """

    run: Run
    summary: Summary
    telemetry: Telemetry | None
    error: BulkshareError | None
    to_set_shared: tuple[str, ...] = ()
    unpruned: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class CloudResult:
    """What became of a plan on one of its clouds, the clouds.yaml entry `cloud`. None: that step was not reached."""

    cloud: str | None
    account: Account | None = None
    summary: Summary | None = None
    telemetry: Telemetry | None = None
    changes: Changes | None = None
    todo: tuple[Block, ...] = ()
    orders: Mapping[str, Orders] = field(default_factory=dict)
    to_set_shared: tuple[str, ...] = ()
    unlisted: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)
    comparison: Comparison | None = None
    error: BulkshareError | None = None

    @property
    def as_planned(self) -> bool:
        """Whether everything is as the plan says."""
        compared = self.comparison is None or self.comparison.complete
        return self.error is None and compared and (self.summary is None or self.summary.as_planned)

    def take(self, ended: EngineResult) -> None:
        """Take over how the engine's work ended."""
        self.summary, self.telemetry, self.error = ended.summary, ended.telemetry, ended.error


class HasResult(Protocol):
    """Work on one cloud that has a result."""

    @property
    def result(self) -> CloudResult:
        """What became of it so far."""
        ...


C = TypeVar("C", bound=HasResult)


async def each(clouds: Iterable[C], step: Callable[[C], Awaitable[None]]) -> None:
    """Take a step on all clouds at the same time. One whose result has an error takes no further steps.

    A `BulkshareError` that a step raises becomes its cloud's error.
    """

    async def take(cloud: C) -> None:
        try:
            await step(cloud)
        except BulkshareError as error:
            cloud.result.error = error

    async with anyio.create_task_group() as steps:
        for cloud in clouds:
            if cloud.result.error is None:
                steps.start_soon(take, cloud)


def raise_refusals(results: Sequence[CloudResult]) -> None:
    """Raise the errors that must keep every cloud from starting: a plan that does not fit one, or wrong usage.

    Raises `PlanError` with the problems of all clouds, else the first `UsageError`.
    """
    errors = [result.error for result in results if result.error is not None]
    problems = [problem for error in errors if isinstance(error, PlanError) for problem in error.problems]
    if problems:
        raise PlanError(list(dict.fromkeys(problems)))
    for result in results:
        if isinstance(result.error, UsageError):
            if len(results) == 1:
                raise result.error
            raise type(result.error)(f"cloud {result.cloud}: {result.error}") from result.error


def results_document(results: Sequence[CloudResult]) -> dict[str, Any]:
    """Return the object of `--json`: for several clouds their sums, with each of them below `clouds`.

    Empty if no cloud has a summary.
    """
    reached = [(result, result.summary) for result in results if result.summary is not None]
    documents = [
        {
            **summary_document(summary),
            **({} if result.comparison is None else {"verify": comparison_document(result.comparison)}),
        }
        for result, summary in reached
    ]
    if not documents or len(results) == 1:
        return documents[0] if documents else {}
    return {**summary_document(merged([summary for _, summary in reached])), "clouds": documents}
