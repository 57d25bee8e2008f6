"""The command that prints JSON Schemas: schema."""

from __future__ import annotations

import json

import click

from bulkshare.plan.schema import plan_schema
from bulkshare.report.schemas import document_schema


def print_schema(of: str = "plan") -> None:
    """Print the JSON Schema of plan files, or of what a command of `report.schemas` knows."""
    click.echo(json.dumps(plan_schema() if of == "plan" else document_schema(of), indent=2))
