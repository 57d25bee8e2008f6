"""What became of a plan on one of its clouds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bulkshare.app.work import Ending
    from bulkshare.errors import BulkshareError
    from bulkshare.model import Account, Block, Telemetry
    from bulkshare.report import Changes, Comparison, Summary


@dataclass(slots=True)
class Part:
    """What became of a plan on one of its clouds, the clouds.yaml entry `cloud`. What was not come to is None."""

    cloud: str | None
    account: Account | None = None
    summary: Summary | None = None
    telemetry: Telemetry | None = None
    changes: Changes | None = None
    todo: tuple[Block, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    comparison: Comparison | None = None
    error: BulkshareError | None = None

    @property
    def as_planned(self) -> bool:
        """Whether everything is as the plan says."""
        compared = self.comparison is None or self.comparison.complete
        return self.error is None and compared and (self.summary is None or self.summary.as_planned)

    def ended(self, ending: Ending) -> None:
        """Take over how the work ended."""
        self.summary, self.telemetry, self.error = ending.summary, ending.telemetry, ending.error
