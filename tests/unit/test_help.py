"""What `--help` and `bulkshare help` say, in the process."""

from __future__ import annotations

import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from bulkshare import errors
from bulkshare.cli import main
from bulkshare.cli.command import Documented, walk
from bulkshare.cli.exit_status import EXIT_CODES, ExitStatus
from bulkshare.cli.manual import load_chapters

if TYPE_CHECKING:
    from click.testing import Result

COMMANDS = {ctx.command_path.removeprefix("bulkshare").strip(): ctx for ctx in walk(main)}
EXAMPLES = [example for ctx in walk(main) if isinstance(ctx.command, Documented) for example in ctx.command.examples]


def run(*args: str) -> Result:
    """Run a command at a width of 80 columns."""
    return CliRunner().invoke(main, args, terminal_width=80)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_and_is_whole(command: str) -> None:
    """No line is wider than 80 columns; however narrow the terminal, no command's summary is cut off."""
    usage, *lines = run(*command.split(), "--help").stdout.splitlines()
    assert max(map(len, [usage, *lines])) <= 80
    for width in (80, 60, 40):
        text = "".join(CliRunner().invoke(main, [*command.split(), "--help"], terminal_width=width).stdout.split())
        below = COMMANDS[command].command
        for each in below.commands.values() if isinstance(below, click.Group) else ():
            summary = (each.help or "").partition("\n\n")[0]
            assert f"{each.name}{''.join(summary.split())}" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_one_or_two_examples(command: str) -> None:
    """They are of the command itself, and in its help as they are."""
    documented = COMMANDS[command].command
    assert isinstance(documented, Documented)
    assert 1 <= len(documented.examples) <= 2
    text = run(*command.split(), "--help").stdout
    for example in documented.examples:
        assert f"bulkshare {command}" in example
        assert f"\n  {example}\n" in text


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_parse(example: str) -> None:
    """The command of an example exists, and takes the options that it has."""
    words = shlex.split(example[example.index("bulkshare ") :].replace(")", ""))
    words = words[1 : words.index(">") if ">" in words else None]
    ctx = next(walk(main))
    while isinstance(ctx.command, click.Group):
        name = words.pop(0)
        ctx = ctx.command.commands[name].make_context(name, words.copy(), parent=ctx)
        words = words if isinstance(ctx.command, click.Group) else []


def test_all_exit_codes_are_in_the_help() -> None:
    """Each that an exception has is explained."""
    codes = {
        error.exit_code for error in vars(errors).values() if isinstance(error, type) and hasattr(error, "exit_code")
    }
    assert codes < set(EXIT_CODES) == set(ExitStatus)


def test_help_lists_topics_and_commands() -> None:
    """Each with a summary."""
    text = " ".join(run("help").stdout.split())
    for topic, chapter in load_chapters().items():
        assert f"{topic} {chapter.summary}" in text
    for name, command in main.commands.items():
        assert f"{name} {command.get_short_help_str(80)}" in text


def test_chapters_begin_with_a_title_and_a_summary() -> None:
    """The list of topics is made of the summaries: one sentence each."""
    chapters = load_chapters()
    assert chapters
    for topic, chapter in chapters.items():
        assert chapter.text.startswith("# "), topic
        assert chapter.summary.endswith("."), topic
        assert ". " not in chapter.summary, topic


def test_a_topic_in_a_pipe_is_markdown() -> None:
    """It is the chapter as it is."""
    for topic, chapter in load_chapters().items():
        assert run("help", topic).stdout.endswith(chapter.text)


@pytest.mark.parametrize("command", [name for name in COMMANDS if name])
def test_help_of_a_command(command: str) -> None:
    """It is what --help prints, followed by a chapter of the same name if there is one."""
    assert run("help", *command.split()).stdout.startswith(run(*command.split(), "--help").stdout)


@pytest.mark.parametrize(
    ("words", "nearest"),
    [(["exit-code"], "exit-codes"), (["rnu"], "run"), (["ledger", "prun"], "ledger prune"), (["zzz"], "")],
)
def test_an_unknown_topic(words: list[str], nearest: str) -> None:
    """The nearest one is offered, or the list."""
    result = run("help", *words)
    assert result.exit_code == 2
    assert f"`bulkshare help {nearest}".rstrip() in result.stderr


def test_version_is_that_of_the_option() -> None:
    """The command adds a line about the system."""
    first, second = run("version").stdout.splitlines()
    assert [first] == run("--version").stdout.splitlines()
    assert second.startswith("Python 3.")


def test_help_imports_little() -> None:
    """It answers at once, and the build, which has nothing but click, can make the man pages."""
    code = (
        "import sys; from bulkshare.cli import main; from bulkshare.cli.manual import man_page\n"
        "print({name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names - {'click', 'bulkshare'})\n"
        "print({'asyncio', 'bulkshare.model', 'bulkshare.plan', 'bulkshare.operations'} & set(sys.modules))"
    )
    clean = [sys.executable, "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}\n{code}"]
    others, needless = subprocess.run(clean, check=True, capture_output=True, text=True).stdout.splitlines()
    assert (others, needless) == ("{'__main__'}", "set()")
