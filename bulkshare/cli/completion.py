"""Shell completion: the scripts for bash, zsh and fish, and what they offer besides commands and options.

A completion never reports an error and never takes long: it offers what it could find out by then.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import click
from click.shell_completion import CompletionItem, get_completion_class

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Item = TypeVar("Item")

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_BULKSHARE_COMPLETE"  # click's protocol: set by the scripts
TIMEOUT_SECONDS = 2.0  # for a ledger on a server
MOST_RUNS = 50


def completion_script(root: click.Command, shell: str) -> str:
    """Return the script that makes `shell`, one of `SHELLS`, complete the command."""
    completer = get_completion_class(shell)
    assert completer is not None  # noqa: S101  click has all of SHELLS
    return completer(root, {}, "bulkshare", VARIABLE).source()


def complete_file(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Let the shell complete a file name."""
    del ctx, param
    return [CompletionItem(incomplete, type="file")]


def complete_run(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the newest runs in the ledger, and their plans."""
    del param
    from bulkshare.operations.defaults import open_ledger  # noqa: PLC0415  only a completion of runs needs it

    def read() -> list[tuple[str, str]]:
        with open_ledger(ctx.params.get("ledger"), create=False) as ledger:
            runs = ledger.runs(limit=MOST_RUNS)
        names = [(run.key, f"{run.plan}: {run.state.value}") for run in runs]
        return names + [(plan, "the last run of this plan") for plan in dict.fromkeys(run.plan for run in runs)]

    return _starting_with(incomplete, _try(read))


def complete_control(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer runs, then what they may be told to do."""
    words = _starting_with(incomplete, dict.fromkeys(("rate=", "concurrency=", "pause", "go", "stop"), "").items())
    return words if ctx.params.get(param.name or "") else [*complete_run(ctx, param, incomplete), *words]


def complete_cloud(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the entries of clouds.yaml."""
    del ctx, param
    from bulkshare.operations.defaults import configured_clouds  # noqa: PLC0415  only a completion of clouds needs it

    return _starting_with(incomplete, ((name, "") for name in _try(configured_clouds)))


def complete_topic(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer topics and commands, or the commands of a group that was named before."""
    from bulkshare.cli.manual import load_chapters  # noqa: PLC0415  only a completion of topics needs it

    group: click.Command = ctx.find_root().command
    for word in ctx.params.get(param.name or "") or ():
        group = group.commands.get(word, group) if isinstance(group, click.Group) else group
    if not isinstance(group, click.Group):
        return []
    found = {name: command.get_short_help_str() for name, command in group.commands.items()}
    if group is ctx.find_root().command:
        found |= {chapter.topic: chapter.summary for chapter in load_chapters().values() if chapter.topic not in found}
    return _starting_with(incomplete, found.items())


def _starting_with(incomplete: str, found: Iterable[tuple[str, str]]) -> list[CompletionItem]:
    return [CompletionItem(name, help=text or None) for name, text in found if name.startswith(incomplete)]


def _try(read: Callable[[], list[Item]]) -> list[Item]:
    """Return what `read` returns; nothing if it fails or takes too long."""
    found: list[Item] = []

    def work() -> None:
        with suppress(Exception):  # a message would end up in the line that is being typed
            found.extend(read())

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(TIMEOUT_SECONDS)
    return list(found)
