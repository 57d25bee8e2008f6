"""The documentation of the commands: `bulkshare help` with the manual's chapters, and pages for man(1).

The build imports this module to write the man pages: at the top it may import only what `build-system.requires` names
and the standard library.
"""

from __future__ import annotations

import difflib
import io
import os
import re
import shutil
import sys
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

import click

from bulkshare._version import __version__
from bulkshare.cli.command import Documented, walk
from bulkshare.cli.exit_status import is_terminal
from bulkshare.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def write_man_pages(root: click.Command, directory: Path) -> list[Path]:
    """Write a page for `root` and for each command below it; return the files."""
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for ctx in walk(root):
        path = directory / f"{page_name(ctx)}.1"
        path.write_text(man_page(ctx), "utf-8")
        written.append(path)
    return written


def page_name(ctx: click.Context) -> str:
    """Return the name of a command's page, e.g. bulkshare-ledger-prune."""
    return ctx.command_path.replace(" ", "-")


def man_page(ctx: click.Context) -> str:
    """Return the page of a command in man(7)'s macros."""
    name, command = page_name(ctx), ctx.command
    summary, *paragraphs = (command.help or "").split("\n\n")
    lines = [
        f'.TH {_escape(name.upper())} 1 "" "bulkshare {_escape(__version__)}" "bulkshare manual"',
        ".nh",  # a name that is hyphenated can't be searched for
        ".ad l",
        ".SH NAME",
        f"{_escape(name)} \\- {_escape(' '.join(summary.split()).rstrip('.'))}",
        ".SH SYNOPSIS",
        f"\\fB{_escape(ctx.command_path)}\\fR {_escape(' '.join(command.collect_usage_pieces(ctx)))}",
        *_section("DESCRIPTION", _paragraphs(paragraphs or [summary])),
        *_section("OPTIONS", _definitions(_options(ctx))),
        *_section("COMMANDS", _definitions(_commands(ctx))),
    ]
    if isinstance(command, Documented):
        for title, line, terms in command.sections:
            lines += _section(title.upper(), [*_verbatim([line]), *_definitions(terms)])
        codes = [(f"{code:d}", f"{meaning}.") for code, meaning in command.exit_codes.items()]
        lines += _section("EXIT STATUS", _definitions(codes))
        lines += _section("EXAMPLES", _verbatim(command.examples))
    lines += _section("SEE ALSO", [*_related(ctx), ".PP", "\\fBbulkshare help\\fR shows the manual."])
    return "\n".join(lines) + "\n"


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f".SH {title}", *lines] if lines else []


def _paragraphs(paragraphs: Sequence[str]) -> list[str]:
    return [line for text in paragraphs for line in (".PP", _text(" ".join(text.split())))]


def _definitions(rows: Sequence[tuple[str, str]]) -> list[str]:
    return [line for term, text in rows for line in (".TP", f"\\fB{_escape(term)}\\fR", _text(text))]


def _verbatim(lines: Sequence[str]) -> list[str]:
    return [".EX", *map(_escape, lines), ".EE"] if lines else []


def _options(ctx: click.Context) -> list[tuple[str, str]]:
    params = (param for param in ctx.command.get_params(ctx) if isinstance(param, click.Option))
    return [record for param in params if (record := param.get_help_record(ctx)) is not None]


def _commands(ctx: click.Context) -> list[tuple[str, str]]:
    below = (each for each in walk(ctx.find_root().command) if each.parent and each.parent.command is ctx.command)
    return [(f"{page_name(each)}(1)", (each.command.help or "").split("\n\n")[0]) for each in below]


def _related(ctx: click.Context) -> list[str]:
    """Return references to the commands above and below."""
    here = f"{ctx.command_path} "
    paths = ((each, f"{each.command_path} ") for each in walk(ctx.find_root().command))
    pages = [
        page_name(each) for each, path in paths if path != here and (path.startswith(here) or here.startswith(path))
    ]
    return [",\n".join(f"\\fB{_escape(page)}\\fR(1)" for page in pages)]


def _text(text: str) -> str:
    """Return text as roff, with what stands between backquotes in bold."""
    parts = re.split(r"`([^`]+)`", text)
    return "".join(f"\\fB{_escape(part)}\\fR" if number % 2 else _escape(part) for number, part in enumerate(parts))


SPECIAL = {"\\": "\\e", "-": "\\-", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti", '"': "\\(dq"}


def _escape(text: str) -> str:
    """Return text that roff prints as it is, so that it can be copied into a shell."""
    escaped = "".join(SPECIAL.get(character, character) for character in text)
    return f"\\&{escaped}" if escaped.startswith(".") else escaped


MOST_COLUMNS = 100  # longer lines are hard to read


@dataclass(frozen=True, slots=True)
class Chapter:
    """A chapter of the manual. `text` is Markdown: a title, a sentence that sums the chapter up, and the rest."""

    topic: str
    text: str

    @property
    def summary(self) -> str:
        """The sentence below the title, on one line."""
        return " ".join(self.text.split("\n\n", 2)[1].split())


def load_chapters() -> dict[str, Chapter]:
    """Return the chapters by topic, in alphabetical order."""
    files = sorted(resources.files("bulkshare").joinpath("manual").iterdir(), key=lambda file: file.name)
    topics = [(file.name.removesuffix(".md"), file) for file in files if file.name.endswith(".md")]
    return {topic: Chapter(topic, file.read_text("utf-8")) for topic, file in topics}


def show_help(words: tuple[str, ...], root: click.Context) -> None:
    """Print the help of a command, a chapter, or both if they share a name; without words, list what there is.

    Raises `UsageError` for a topic that does not exist.
    """
    if not words:
        click.echo(_contents(root))
        return
    command = _find_command(words, root)
    chapter = load_chapters().get(words[0]) if len(words) == 1 else None
    if command is None and chapter is None:
        raise UsageError(_unknown(words, root))
    parts = [] if command is None else [command.get_help()]
    if not is_terminal(sys.stdout):
        parts += [] if chapter is None else [chapter.text.rstrip()]
        click.echo("\n\n".join(parts))
        return
    parts += [] if chapter is None else [_render(chapter.text)]
    os.environ.setdefault("LESS", "-FRX")  # as git sets it: exit if all fits, keep colours, don't clear the screen
    click.echo_via_pager("\n\n".join(parts) + "\n")


def _contents(root: click.Context) -> str:
    group = root.command
    assert isinstance(group, click.Group)  # noqa: S101  the root is a group
    formatter = root.make_formatter()
    formatter.write_usage("bulkshare help", "[TOPIC | COMMAND]")
    with formatter.section("Topics"):
        formatter.write_dl([(chapter.topic, chapter.summary) for chapter in load_chapters().values()])
    group.format_commands(root, formatter)
    return formatter.getvalue().rstrip("\n")


def _find_command(words: tuple[str, ...], root: click.Context) -> click.Context | None:
    ctx = root
    for word in words:
        if not isinstance(ctx.command, click.Group) or word not in ctx.command.commands:
            return None
        ctx = click.Context(ctx.command.commands[word], ctx, word)
    return ctx


def _unknown(words: tuple[str, ...], root: click.Context) -> str:
    commands = [ctx.command_path.removeprefix("bulkshare ") for ctx in walk(root.command) if ctx.parent is not None]
    nearest = difflib.get_close_matches(" ".join(words), [*load_chapters(), *commands], n=1)
    hint = f"did you mean `bulkshare help {nearest[0]}`?" if nearest else "`bulkshare help` lists them"
    return f"there is no topic or command {' '.join(words)!r}; {hint}"


def _render(text: str) -> str:
    """Return Markdown as a terminal shows it, in colour if it has any."""
    from rich.console import Console  # noqa: PLC0415  a terminal only
    from rich.markdown import Markdown  # noqa: PLC0415

    width = min(shutil.get_terminal_size().columns, MOST_COLUMNS)
    console = Console(file=io.StringIO(), force_terminal=True, width=width)
    with console.capture() as rendered:
        console.print(Markdown(text, hyperlinks=False))
    return rendered.get().rstrip("\n")
