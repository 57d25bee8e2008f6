"""The program's commands by path, to check the command lines in documents and deployment files."""

from __future__ import annotations

import shlex

import click

from bulkshare.cli import main
from bulkshare.cli.command import walk

CONTEXTS = {ctx.command_path: ctx for ctx in walk(main)}
PROGRAM = {path: ctx.command for path, ctx in CONTEXTS.items()}


def find_command(words: list[str]) -> tuple[str, list[str]]:
    """Return the path of the command that the words name, and the words after its name.

    The words begin after the program's own name.
    """
    path = "bulkshare"
    while words and f"{path} {words[0]}" in PROGRAM:
        path, words = f"{path} {words[0]}", words[1:]
    return path, words


def parse_command(line: str | list[str]) -> click.Context:
    """Parse a command line that begins after the program's own name, and return its context.

    Raises `click.UsageError` if there is no such command, option or argument, or if a value is not valid.
    """
    path, words = find_command(shlex.split(line) if isinstance(line, str) else line)
    found = CONTEXTS[path]
    if isinstance(found.command, click.Group):
        raise click.UsageError(f"no such command: {line}")
    return found.command.make_context(found.info_name, list(words), parent=found.parent)
