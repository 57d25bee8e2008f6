"""Shell completion, by click's protocol and in the shells themselves."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from bulkshare.cli.manual import load_chapters
from bulkshare.ledger import SqlLedger
from tests import ledger_fixtures
from tests.shell import COMMAND

if TYPE_CHECKING:
    from pathlib import Path

    from tests.shell import Shell


def complete(shell: Shell, words: str, **env: str) -> list[str]:
    """Return what is offered for the last of some words, as the script for bash asks for it."""
    count = len(words.split()) - (not words.endswith(" "))
    done = subprocess.run(
        [COMMAND],
        cwd=shell.directory,
        env={
            **os.environ,
            **shell.env,
            **env,
            "_BULKSHARE_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(count),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stderr
    return [line for line in done.stdout.splitlines() if line]


def offered(shell: Shell, words: str, **env: str) -> list[str]:
    """Return the plain words that are offered."""
    found = [line.split(",", 1) for line in complete(shell, words, **env)]
    assert all(kind == "plain" for kind, _ in found)
    return [value for _, value in found]


def test_commands_and_options(shell: Shell) -> None:
    """Those that begin as typed."""
    assert offered(shell, "bulkshare re") == ["resume", "report"]
    assert offered(shell, "bulkshare ledger ") == ["prune"]
    assert offered(shell, "bulkshare run --fleet") == ["--fleet", "--fleet-credentials"]
    assert offered(shell, "bulkshare run --log-format ") == ["console", "json"]
    assert offered(shell, "bulkshare completion ") == ["bash", "zsh", "fish"]


@pytest.mark.parametrize("words", ["run gol", "check gol", "diff gol --out ton", "runs --ledger led"])
def test_files_are_the_shells_to_complete(shell: Shell, words: str) -> None:
    """Plans, saved changes and ledgers are files."""
    assert complete(shell, f"bulkshare {words}") == [f"file,{words.rsplit(maxsplit=1)[-1]}"]


def test_runs_and_plans_of_the_ledger(shell: Shell) -> None:
    """The newest first, then their plans; from the ledger that the line names."""
    ledger = SqlLedger.open(str(shell.directory / "ledger.db"))
    first, second = ledger_fixtures.begin(ledger, "alpha"), ledger_fixtures.begin(ledger, "beta")
    ledger.close()
    other = SqlLedger.open(str(shell.directory / "other.db"))
    third = ledger_fixtures.begin(other, "gamma")
    other.close()
    for command in ("show", "export", "report", "resume"):
        assert offered(shell, f"bulkshare {command} ") == [second.key, first.key, "beta", "alpha"]
    assert offered(shell, "bulkshare show al") == [first.key, "alpha"]
    assert offered(shell, "bulkshare show --ledger other.db ") == [third.key, "gamma"]


def test_no_ledger_is_no_error(shell: Shell) -> None:
    """Nothing is offered, nothing is made, nothing is said."""
    assert offered(shell, "bulkshare show ") == []
    assert not list(shell.directory.iterdir())
    shell.write("ledger.db", "not a ledger" * 100)
    assert offered(shell, "bulkshare show ") == []
    assert offered(shell, "bulkshare show ", BULKSHARE_LEDGER="nonsense://") == []
    assert offered(shell, "bulkshare show --ledger postgresql://me:secret@host/db ", BULKSHARE_LEDGER="") == []


def test_a_ledger_that_does_not_answer_is_not_waited_for(shell: Shell) -> None:
    """A server accepts and is silent: the completion ends all the same."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"postgresql://me@127.0.0.1:{server.getsockname()[1]}/ledger"
        assert offered(shell, "bulkshare show ", BULKSHARE_LEDGER=url) == []


def test_entries_of_clouds_yaml(shell: Shell) -> None:
    """Named where the command looks for them; none if there is no file or it is broken."""
    assert offered(shell, "bulkshare run --os-cloud ") == []
    shell.write("clouds.yaml", "clouds:\n  prod: {}\n  preview: {}\n  test: {}\n")
    assert offered(shell, "bulkshare run --os-cloud ") == ["preview", "prod", "test"]
    assert offered(shell, "bulkshare resume --os-cloud pr") == ["preview", "prod"]
    shell.write("clouds.yaml", "clouds: [")
    assert offered(shell, "bulkshare run --os-cloud ") == []


def test_topics_of_the_manual(shell: Shell) -> None:
    """Chapters, commands, and the commands of a group."""
    found = offered(shell, "bulkshare help ")
    assert {"run", "ledger", *load_chapters()} <= set(found)
    assert len(found) == len(set(found))
    assert offered(shell, "bulkshare help ledger ") == ["prune"]
    assert offered(shell, "bulkshare help run ") == []


def in_shell(name: str, script: str, directory: Path) -> str:
    """Run a script in a shell that has the command on its path, and return what it prints."""
    if shutil.which(name) is None:
        pytest.skip(f"needs {name}")
    flags = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[name]
    environment = {**os.environ, "PATH": f"{COMMAND.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        [name, *flags, "-c", script], cwd=directory, env=environment, capture_output=True, text=True, check=True
    )
    assert not done.stderr
    return done.stdout


def test_bash(tmp_path: Path) -> None:
    """It is registered, and completes."""
    script = (
        "source <(bulkshare completion bash); complete -p bulkshare\n"
        "COMP_WORDS=(bulkshare ledger pr); COMP_CWORD=2; _bulkshare_completion bulkshare; echo ${COMPREPLY[@]}"
    )
    registered, completed = in_shell("bash", script, tmp_path).splitlines()
    assert registered == "complete -o nosort -F _bulkshare_completion bulkshare"
    assert completed == "prune"


def test_zsh(tmp_path: Path) -> None:
    """It is registered, and its words are what the completion system is given."""
    script = (
        "autoload -Uz compinit; compinit -D -u; source <(bulkshare completion zsh); print $_comps[bulkshare]\n"
        'compadd() { print "$@" }; _describe() { print ${(P)3} }\n'
        "words=(bulkshare ledger pr); CURRENT=3; _bulkshare_completion"
    )
    registered, completed = in_shell("zsh", script, tmp_path).splitlines()
    assert registered == "_bulkshare_completion"
    assert completed == "prune:Delete old runs with their pairs."


def test_fish(tmp_path: Path) -> None:
    """It completes, with the commands' summaries beside them."""
    found = in_shell("fish", 'bulkshare completion fish | source; complete -C "bulkshare ledger pr"', tmp_path)
    assert found == "prune\tDelete old runs with their pairs.\n"
