"""The commands that answer questions about members: who and what. Each returns its exit status."""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from bulkshare.cli.exit_status import ExitStatus
from bulkshare.cli.output import print_whole
from bulkshare.errors import LedgerError, UsageError
from bulkshare.operations.defaults import open_ledger
from bulkshare.operations.questions import CloudQuestion, what, who
from bulkshare.report.access import access_csv, access_document, render_what, render_who
from bulkshare.report.text import Prose
from bulkshare.text import escaped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bulkshare.ledger import SqlLedger
    from bulkshare.operations.questions import Answer


def who_command(image: str, **given: Any) -> int:
    """Print who can use an image. Raises `BulkshareError`."""
    return _answer("who", CloudQuestion("image", image), who, **given)


def what_command(project: str, *, owner: str | None, **given: Any) -> int:
    """Print what a project can use. Raises `BulkshareError`."""
    question = CloudQuestion("project", project, owner or "self")
    return _answer("what", question, what, only_cloud={"--owner": owner}, **given)


def _answer(
    command: str,
    question: CloudQuestion,
    ask: Callable[[SqlLedger, str, Callable[[str], None]], Answer],
    *,
    ledger: str | None,
    ask_now: bool,
    history: bool,
    as_json: bool,
    as_csv: bool,
    only_cloud: dict[str, Any] | None = None,
    **given: Any,
) -> int:
    if as_json and as_csv:
        raise UsageError("--json and --csv exclude each other: leave out one of them")
    if ask_now:
        from bulkshare.cli.run import STOP_SIGNALS, read_options  # noqa: PLC0415  the ledger answers without them
        from bulkshare.operations.cloud_questions import ask_cloud  # noqa: PLC0415
        from bulkshare.operations.execute import run_async  # noqa: PLC0415

        options, listener = read_options({"ledger": ledger, **given})
        with _ledger_if_any(ledger) as opened:
            answer = run_async(partial(ask_cloud, question, opened, options, listener, signals=STOP_SIGNALS))
    else:
        named = {"--os-cloud": given["cloud"], "--concurrency": given["concurrency"], "--rate": given["rate"]}
        if extra := [name for name, value in {**(only_cloud or {}), **named}.items() if value is not None]:
            raise UsageError(f"{extra[0]} is for a question to the cloud: add --cloud")
        with open_ledger(ledger, create=False) as opened:
            answer = ask(opened, question.asked, _note)
    _print(command, question.asked, answer, cloud=ask_now, history=history, form=(as_json, as_csv))
    for image_id, reason in answer.unlisted.items():
        _note(f"can't list the members of image {escaped(image_id)}: {reason}")
    return ExitStatus.CANT_BE_DONE if answer.unlisted else ExitStatus.AS_PLANNED


def _print(command: str, asked: str, answer: Answer, *, cloud: bool, history: bool, form: tuple[bool, bool]) -> None:
    as_json, as_csv = form
    if as_json:
        document = access_document(command, asked, answer.accesses, answer.names, cloud=cloud, history=history)
        click.echo(json.dumps({**document, "unlisted": dict(answer.unlisted)} if cloud else document))
    elif as_csv:
        for line in access_csv(answer.accesses, answer.names, history=history):
            click.echo(line, nl=False)
    else:
        render = render_who if command == "who" else render_what
        for part in render(answer.accesses, answer.names, history=history):
            print_whole(part)
        if not answer.accesses and not answer.unlisted:
            click.echo("No project is a member." if command == "who" else "It is a member of no image.")
        source = (
            "The cloud was asked just now; the ledger tells since when and by which run."
            if cloud
            else "This is what the ledger knows; --cloud asks the cloud."
        )
        print_whole(Prose(source))


@contextmanager
def _ledger_if_any(location: str | None) -> Iterator[SqlLedger | None]:
    """Open the ledger; None, and a note, if it can't be: the cloud answers without it."""
    with ExitStack() as stack:
        ledger = None
        try:
            ledger = stack.enter_context(open_ledger(location, create=False))
        except LedgerError as error:
            _note(f"the ledger adds nothing: {error}")
        yield ledger


def _note(message: str) -> None:
    click.echo(message, err=True)
