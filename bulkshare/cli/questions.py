"""The commands that answer questions about members: who and what."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from bulkshare.cli.output import print_whole
from bulkshare.errors import UsageError
from bulkshare.operations import questions
from bulkshare.operations.defaults import open_ledger
from bulkshare.report.access import access_csv, access_document, render_what, render_who
from bulkshare.report.text import Prose

if TYPE_CHECKING:
    from collections.abc import Callable

    from bulkshare.ledger import SqlLedger
    from bulkshare.operations.questions import Answer


def who_command(image: str, **given: Any) -> None:
    """Print who can use an image. Raises `BulkshareError`."""
    _answer("who", image, questions.who, **given)


def what_command(project: str, **given: Any) -> None:
    """Print what a project can use. Raises `BulkshareError`."""
    _answer("what", project, questions.what, **given)


def _answer(
    question: str,
    asked: str,
    ask: Callable[[SqlLedger, str, Callable[[str], None]], Answer],
    *,
    ledger: str | None,
    history: bool,
    as_json: bool,
    as_csv: bool,
) -> None:
    if as_json and as_csv:
        raise UsageError("--json and --csv exclude each other: leave out one of them")
    with open_ledger(ledger, create=False) as opened:
        answer = ask(opened, asked, _note)
    if as_json:
        document = access_document(question, asked, answer.accesses, answer.names, cloud=False, history=history)
        click.echo(json.dumps(document))
    elif as_csv:
        for line in access_csv(answer.accesses, answer.names, history=history):
            click.echo(line, nl=False)
    else:
        render = render_who if question == "who" else render_what
        for part in render(answer.accesses, answer.names, history=history):
            print_whole(part)
        print_whole(Prose("This is what the ledger knows."))


def _note(message: str) -> None:
    click.echo(message, err=True)
