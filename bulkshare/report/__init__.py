"""Outcomes rendered for people and programs: summaries, causes of failure, diffs, comparisons, exports. Pure.

Every function may be called from any thread. Iterables of outcomes are read once, lazily.
"""

from bulkshare.report.changes import Changes, ImageChanges, changes_document, changes_of, render_changes
from bulkshare.report.comparison import Comparer, Comparison, comparison_document, render_comparison
from bulkshare.report.documents import versioned
from bulkshare.report.export import COLUMNS, export_csv, export_jsonl, row_of
from bulkshare.report.markdown import Look, render_comparisons_markdown, render_markdown
from bulkshare.report.runs import (
    RunStatus,
    render_part,
    render_run,
    render_runs,
    render_total,
    run_document,
    run_status_of,
    show_document,
    total_document,
    total_of,
)
from bulkshare.report.summary import (
    NOT_AS_PLANNED,
    SETTLED_BADLY,
    AtFault,
    Cause,
    Summary,
    cause_document,
    causes_of,
    merged,
    summary_document,
    summary_of,
)
from bulkshare.report.text import render_outcomes, render_summary

__all__ = [
    "COLUMNS",
    "NOT_AS_PLANNED",
    "SETTLED_BADLY",
    "AtFault",
    "Cause",
    "Changes",
    "Comparer",
    "Comparison",
    "ImageChanges",
    "Look",
    "RunStatus",
    "Summary",
    "cause_document",
    "causes_of",
    "changes_document",
    "changes_of",
    "comparison_document",
    "export_csv",
    "export_jsonl",
    "merged",
    "render_changes",
    "render_comparison",
    "render_comparisons_markdown",
    "render_markdown",
    "render_outcomes",
    "render_part",
    "render_run",
    "render_runs",
    "render_summary",
    "render_total",
    "row_of",
    "run_document",
    "run_status_of",
    "show_document",
    "summary_document",
    "summary_of",
    "total_document",
    "total_of",
    "versioned",
]
