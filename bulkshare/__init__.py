"""Bulk sharing of OpenStack images: a plan says who may use which image; a run makes the cloud match it.

from bulkshare import load_plan
from bulkshare import run

report = run(load_plan("golden.yaml"), ledger="ledger.db")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bulkshare._version import __version__

if TYPE_CHECKING:
    from bulkshare.api import Progress, RunOptions, RunReport, load_plan, run, run_async

__all__ = ["Progress", "RunOptions", "RunReport", "__version__", "load_plan", "run", "run_async"]


def __getattr__(name: str) -> Any:
    """Import the library on first use: the command line starts without most of it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from bulkshare import api  # noqa: PLC0415  late, for the reason above

    return getattr(api, name)
