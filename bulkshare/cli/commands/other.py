"""The sandbox, and help."""

from __future__ import annotations

from typing import Any

import click

from bulkshare._version import __version__
from bulkshare.cli.completion import SHELLS, complete_topic
from bulkshare.cli.options import FAULT_RULES, FAULTS
from bulkshare.cli.program import main


@main.command(
    heading="The sandbox, and help",
    examples=[
        "bulkshare sandbox > clouds.yaml",
        "bulkshare sandbox --latency 20ms --fault 'POST members 503 10% retry-after=2'",
    ],
    sections=[FAULT_RULES],
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The port on 127.0.0.1. Default: a free one.")
@click.option(
    "--images", type=click.IntRange(0, 100_000), default=3, show_default=True, help="Number of shared images."
)
@click.option(
    "--projects", type=click.IntRange(0, 1_000_000), default=10, show_default=True, help="Number of projects."
)
@click.option("--example", is_flag=True, help="Have the images and projects of plans/golden-nightly.yaml instead.")
@click.option(
    "--quota",
    type=click.IntRange(-1),
    help="Members an image may have; -1: any number. Default: 128, or 256 with --dialect otc.",
)
@FAULTS
def sandbox(**options: Any) -> None:
    """Serve an embedded cloud until interrupted.

    Prints a clouds.yaml that uses it, and a plan for its images and projects. The cloud is in memory only and listens
    on 127.0.0.1.
    """
    from bulkshare.cli.sandbox import serve_sandbox

    serve_sandbox(**options)


@main.command(heading="The sandbox, and help", name="help", examples=["bulkshare help", "bulkshare help ledger prune"])
@click.argument("words", metavar="[TOPIC | COMMAND]", nargs=-1, shell_complete=complete_topic)
@click.pass_context
def help_command(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Show a chapter of the manual, or the help of a command.

    Without an argument, lists the topics and the commands. A name that is both a topic and a command shows both.
    """
    from bulkshare.cli.manual import show_help

    show_help(words, ctx.find_root())


@main.command(
    heading="The sandbox, and help",
    examples=[
        "source <(bulkshare completion bash)",
        "bulkshare completion fish > ~/.config/fish/completions/bulkshare.fish",
    ],
)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    With bash or zsh, add the first example to ~/.bashrc or ~/.zshrc; in the latter with `zsh`, and below `compinit`.
    """
    from bulkshare.cli.completion import completion_script

    click.echo(completion_script(ctx.find_root().command, shell), nl=False)


@main.command(heading="The sandbox, and help", examples=["bulkshare version"])
def version() -> None:
    """Print the version, and those of Python and the system."""
    import platform

    click.echo(f"bulkshare, version {__version__}")
    click.echo(f"Python {platform.python_version()} on {platform.platform()}")
