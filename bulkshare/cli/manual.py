"""`bulkshare help`: the chapters of the manual, and the help of the commands."""

from __future__ import annotations

import difflib
import io
import os
import shutil
import sys
from dataclasses import dataclass
from importlib import resources

import click

from bulkshare.cli.command import walk
from bulkshare.cli.exit_status import is_terminal
from bulkshare.errors import UsageError

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
