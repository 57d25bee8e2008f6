"""Commands and groups whose help ends with examples and exit codes, and which turn errors into exit codes."""

from __future__ import annotations

import sys
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from bulkshare.cli.exit_status import EXIT_CODES, ExitStatus, guarded_stdout
from bulkshare.errors import BulkshareError, PlanError
from bulkshare.text import clean, counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import NoReturn


ARGUMENTS = f"{__name__}.arguments"  # in a context's `meta`: the command line after the program's name


class Section(NamedTuple):
    """A part of a help text: a title, a line that is never wrapped, and terms with what they mean."""

    title: str
    line: str
    terms: tuple[tuple[str, str], ...]


class Documented(click.Command):
    """A command whose help has examples and exit codes below the options.

    heading: what it is listed below in the help of its group; "": "Commands".
    examples: command lines, as a user types them.
    sections: shown above the examples.
    exit_codes: whether to list all exit codes.
    """

    def __init__(
        self,
        *args: Any,
        heading: str = "",
        examples: Sequence[str] = (),
        sections: Sequence[Section] = (),
        exit_codes: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.heading = heading
        self.sections = tuple(sections)
        self.examples = tuple(examples)
        self.exit_codes = EXIT_CODES if exit_codes else {}

    def get_short_help_str(self, limit: int = 80) -> str:
        """Return the summary, whole: click would cut it off where a terminal is narrow, and in completions."""
        del limit
        return " ".join((self.help or "").split("\n\n")[0].split())

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, which are never wrapped because they are there to be copied, and the exit codes."""
        del ctx
        for title, line, terms in self.sections:
            with formatter.section(title):
                formatter.write(f"{'':>{formatter.current_indent}}{line}\n")
                formatter.write_dl(terms)
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{example}\n")
        if self.exit_codes:
            with formatter.section("Exit codes"):
                formatter.write_dl([(f"{code:d}", meaning) for code, meaning in self.exit_codes.items()])


class Group(Documented, click.Group):
    """A group that lists its commands in the order in which they were added, those of a heading together."""

    command_class = Documented
    headings: tuple[str, ...] = ("",)  # in the order of the help; "": those without one

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order in which a user meets them."""
        del ctx
        return sorted(self.commands, key=lambda name: self.headings.index(_heading_of(self.commands[name])))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands below their headings."""
        names = self.list_commands(ctx)
        width = max(map(len, names))
        for heading, below in groupby(names, key=lambda name: _heading_of(self.commands[name])):
            with formatter.section(heading or "Commands"):
                formatter.write_dl([(f"{name:{width}}", self.commands[name].get_short_help_str()) for name in below])


def _heading_of(command: click.Command) -> str:
    return command.heading if isinstance(command, Documented) else ""


class Program(Group):
    """The group at the root: reports what stops a command on stderr and exits with its code."""

    group_class = Group
    headings = ("Plans", "Members", "Questions", "Runs and the ledger", "The sandbox, and help")

    def main(self, *args: Any, **options: Any) -> NoReturn:
        """Run the command line and exit. An interrupt while it is parsed exits as any other does."""
        try:
            status = super().main(*args, **{**options, "standalone_mode": False})
        except click.Abort:
            _tell("bulkshare: interrupted")
            status = ExitStatus.INTERRUPTED
        except click.ClickException as error:
            with suppress(OSError):
                error.show()
            status = error.exit_code
        sys.exit(status)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments before the command. For an option of a command, the error says to put it after that."""
        given = list(args)
        ctx.meta[ARGUMENTS] = tuple(given)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            name = next((word for word in given if word in self.commands), "")
            commands = [name] if name else list(self.commands)
            known = (each for each in commands if error.option_name in _options_of(self.commands[each]))
            if (command := next(known, "")) == "":
                raise
            message = f"{error.option_name} goes after the command: bulkshare {command} {error.option_name} ..."
            raise click.UsageError(message, ctx) from error

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command. What stops it is reported in a sentence, without a traceback."""
        try:
            with guarded_stdout():
                return super().invoke(ctx)
        except PlanError as error:
            _tell(*map(str, error.problems), f"{counted(len(error.problems), 'problem')}; nothing was sent")
            ctx.exit(error.exit_code)
        except BulkshareError as error:
            _tell(f"bulkshare: {error}")
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            _tell("bulkshare: interrupted")
            ctx.exit(ExitStatus.INTERRUPTED)
        except (ImportError, OSError) as error:  # of the machine, outside a run: what happens in one is a group
            _tell(f"bulkshare: {_explain(error)}")
            ctx.exit(ExitStatus.BAD_USAGE)


def _options_of(command: click.Command) -> set[str]:
    return {option for param in command.params for option in (*param.opts, *param.secondary_opts)}


def _tell(*lines: str) -> None:
    """Print lines on stderr. If that is closed, full or a terminal that is gone, the exit code has to do."""
    with suppress(OSError):
        for line in lines:
            click.echo(line, err=True)


def _explain(error: ImportError | OSError) -> str:
    """Return a sentence about the machine that a command runs on."""
    if isinstance(error, ImportError):
        return clean(f"this installation is broken, install it again: {error}")
    try:
        Path.cwd()
    except OSError:
        return "the working directory is gone, change to another one"
    return clean(f"{error.filename or 'the system'}: {error.strerror or error}")


def walk(
    command: click.Command, parent: click.Context | None = None, name: str = "bulkshare"
) -> Iterator[click.Context]:
    """Yield a context for a command and for each of those below it, as it would be called."""
    ctx = click.Context(command, parent, name, **command.context_settings)
    yield ctx
    if isinstance(command, click.Group):
        for each in command.list_commands(ctx):
            yield from walk(command.commands[each], ctx, each)
