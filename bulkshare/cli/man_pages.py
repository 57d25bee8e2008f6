"""Manual pages for man(1), one for each command, made from the commands' own help.

The build calls `write_man_pages`: whatever this module imports has to be in `build-system.requires` or the standard
library.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bulkshare._version import __version__
from bulkshare.cli.command import Documented, walk

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import click


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
    records = (param.get_help_record(ctx) for param in ctx.command.get_params(ctx))
    return [record for record in records if record is not None]


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
