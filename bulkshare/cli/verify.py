"""`bulkshare verify`: the plan beside the members on the cloud."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from bulkshare.app.verifying import verify_plan
from bulkshare.app.work import run_async
from bulkshare.cli.asking import STOP_SIGNALS, CloudOptions
from bulkshare.cli.conclusion import conclude_comparisons
from bulkshare.plan import load_plan

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyOptions(CloudOptions):
    """The options of `bulkshare verify`, as the command line has them."""

    plan: Path
    sandbox: bool


def verify_command(options: VerifyOptions) -> int:
    """Compare a plan with its clouds; return 0 where nothing is missing, else 1. Raises `BulkshareError`."""
    plan, voice = load_plan(options.plan), options.voice()
    work = partial(
        verify_plan,
        plan,
        voice,
        os_cloud=options.os_cloud,
        sandbox=options.sandbox,
        effort=options.effort,
        signals=STOP_SIGNALS,
    )
    return conclude_comparisons(run_async(work), voice)
