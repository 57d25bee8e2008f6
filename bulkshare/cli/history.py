"""The commands that look back: history and compare. Each returns its exit status."""

from __future__ import annotations

import json
import math
from itertools import islice
from typing import TYPE_CHECKING

import click

from bulkshare.cli.exit_status import ExitStatus
from bulkshare.cli.output import print_whole
from bulkshare.operations.defaults import open_ledger
from bulkshare.operations.history import find_run
from bulkshare.operations.past import compare_runs, histories_of
from bulkshare.report import (
    difference_document,
    history_document,
    pair_document,
    render_difference,
    render_history,
    render_pairs,
)
from bulkshare.report.history import VERSION
from bulkshare.report.text import Prose

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bulkshare.ledger import SqlLedger
    from bulkshare.operations.past import Compared


def show_history(location: str | None, plan: str | None, limit: int, *, as_json: bool = False) -> int:
    """Print the last runs of a plan, by default of that of the last run. Raises `UsageError` if there is none."""
    with open_ledger(location, create=False) as ledger:
        name = find_run(ledger, plan, _report).plan
        histories = histories_of(ledger, name, limit=limit)
    if as_json:
        click.echo(json.dumps(history_document(name, histories)))
        return ExitStatus.AS_PLANNED
    for number, history in enumerate(histories):
        if number:
            click.echo()
        print_whole(render_history(name, history))
    return ExitStatus.AS_PLANNED


def compare(location: str | None, first: str | None, second: str | None, limit: int, *, as_json: bool = False) -> int:
    """Print which pairs differ between two runs: 0 if none does, else 10. Raises `UsageError`.

    first, second: as for `compare_runs`.

    limit: number of pairs to print; 0: all of them.
    """
    with open_ledger(location, create=False) as ledger:
        found = compare_runs(ledger, first, second, _report)
        if as_json:
            _print_json(ledger, found)
        else:
            _print(ledger, found, limit or math.inf)
    return ExitStatus.CHANGES if any(each.difference.different for each in found) else ExitStatus.AS_PLANNED


def _print(ledger: SqlLedger, found: Sequence[Compared], limit: float) -> None:
    left, total = limit, sum(each.difference.different for each in found)
    for number, each in enumerate(found):
        if number:
            click.echo()
        print_whole(Prose(f"{each.before.key} -> {each.now.key}, on {each.now.account.cloud}", hanging=4))
        print_whole(render_difference(each.difference))
        shown = int(min(left, each.difference.different))
        left -= shown
        for content in render_pairs(islice(each.pairs(ledger), shown), _names(ledger, each)):
            print_whole(content)
    if total > limit:
        print_whole(Prose(f"... and {total - limit:,} more: --limit 0 prints all", hanging=4))


def _print_json(ledger: SqlLedger, found: Sequence[Compared]) -> None:
    """Print one object. It is written pair by pair: there may be millions."""
    click.echo(f'{{"version": {VERSION}, "clouds": [', nl=False)
    for number, each in enumerate(found):
        head = {
            "before": each.before.key,
            "now": each.now.key,
            "cloud": each.now.account.cloud,
            **difference_document(each.difference),
        }
        click.echo(f'{", " if number else ""}{json.dumps(head)[:-1]}, "pairs": [', nl=False)
        names = _names(ledger, each)
        for place, pair in enumerate(each.pairs(ledger)):
            click.echo(f"{', ' if place else ''}{json.dumps(pair_document(pair, names))}", nl=False)
        click.echo("]}", nl=False)
    click.echo("]}")


def _names(ledger: SqlLedger, compared: Compared) -> Mapping[str, str]:
    return ledger.labels(compared.before.id) | ledger.labels(compared.now.id)


def _report(message: str) -> None:
    click.echo(message, err=True)
