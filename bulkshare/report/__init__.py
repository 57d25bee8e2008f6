"""From outcomes to what people and programs read: the summary, causes of failure, tables, rows for export. Pure."""

from bulkshare.report.comparison import Comparer, Comparison, comparison_document, render_comparison
from bulkshare.report.rows import COLUMNS, export_csv, export_jsonl, row_of
from bulkshare.report.summary import (
    NOT_AS_PLANNED,
    SETTLED_BADLY,
    Cause,
    Listed,
    Summary,
    causes_of,
    summary_document,
    summary_of,
)
from bulkshare.report.tables import render_dry_run, render_outcomes, render_runs, render_summary

__all__ = [
    "COLUMNS",
    "NOT_AS_PLANNED",
    "SETTLED_BADLY",
    "Cause",
    "Comparer",
    "Comparison",
    "Listed",
    "Summary",
    "causes_of",
    "comparison_document",
    "export_csv",
    "export_jsonl",
    "render_comparison",
    "render_dry_run",
    "render_outcomes",
    "render_runs",
    "render_summary",
    "row_of",
    "summary_document",
    "summary_of",
]
