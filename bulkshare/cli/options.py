"""The options that several commands have, and the kinds of values they take. Cheap to import."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    Command = TypeVar("Command", bound=Callable[..., Any])

EXIT_CODES = """
\b
Exit codes:
  0    every pair is as planned
  1    finished, but some pairs are not
  2    bad usage or plan; nothing was sent
  3    credentials or endpoint refused
  4    ledger unusable
  5    stopped early (endpoint down, --deadline, --max-failures); the rest is pending
  10   diff: a run would change something
  75   another run of this plan holds the lock
  130  interrupted; the rest is pending
"""


def _keep_secret(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Return the value unless it shows a password to everybody who lists this machine's processes."""
    given = ctx.get_parameter_source(param.name or "")
    if value and given is click.core.ParameterSource.COMMANDLINE and WITH_PASSWORD.match(value):
        raise click.BadParameter(
            "everybody on this machine sees a password on the command line; put the URL into BULKSHARE_LEDGER, or the "
            "password into ~/.pgpass (PostgreSQL) or an option file: ?read_default_file=/home/me/.my.cnf (MariaDB)",
            ctx,
            param,
        )
    return value


# As SQLAlchemy reads URLs, whose passwords may have a "/" or "?" that is not quoted.
WITH_PASSWORD = re.compile(
    r"\w[\w+.-]*://([^:/]*:[^@]*@|.*[?&](password|passwd|sslpassword|ssl_key_password)=)", re.DOTALL
)
PLAN = click.argument("plan", type=click.Path(path_type=Path))
RUN = click.argument("run", required=False)
LEDGER = click.option(
    "--ledger",
    envvar="BULKSHARE_LEDGER",
    metavar="PATH|URL",
    show_envvar=True,
    callback=_keep_secret,
    help="Where the ledger is. Default: ledger.db in the user's state directory.",
)


class Duration(click.ParamType[float]):
    """A duration such as 20ms or 2h, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        import durationpy  # noqa: PLC0415  only where a duration is given

        if value == "inf":
            return math.inf
        try:
            seconds = float(durationpy.from_str(value).total_seconds())
        except (durationpy.DurationError, OverflowError, ValueError):
            seconds = -1.0
        if seconds < 0:
            self.fail(f"{value!r} is no duration; write e.g. 20ms, 30s, 15m or 2h", param, ctx)
        return seconds


class Share(click.ParamType[str]):
    """A number, or a percentage."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text once it is known to be one of the two."""
        number = str(value).removesuffix("%")
        if not number.isdecimal() or (value.endswith("%") and int(number) > 100):
            self.fail(f"{value!r} is neither a number of pairs nor a percentage of them", param, ctx)
        return str(value)


class Percentage(click.ParamType[float]):
    """A percentage such as 10%, as a share from 0 to 1."""

    name = "percentage"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the share."""
        number = str(value).removesuffix("%")
        if not number.isdecimal() or not str(value).endswith("%") or int(number) > 100:
            self.fail(f"{value!r} is no percentage; write e.g. 10%", param, ctx)
        return int(number) / 100


def together(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Return one decorator that adds several options, listed in this order."""

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


OS_CLOUD = click.option(
    "--os-cloud", "cloud", metavar="NAME", help="The clouds.yaml entry to use, where the plan names none."
)
SANDBOX = click.option(
    "--sandbox", is_flag=True, help="Run against an embedded cloud that has the plan's images: no account."
)
WAIT_LOCK = click.option(
    "--wait-lock",
    "wait_lock_seconds",
    metavar="DURATION",
    type=Duration(),
    default="0s",
    help="How long to wait for another run of the plan to end, e.g. 10m. Default: not at all.",
)
LIMITS = together(
    click.option(
        "--concurrency", type=click.IntRange(1, 1000), metavar="N", help="Requests in flight. Default: the plan's."
    ),
    click.option(
        "--rate", type=click.FloatRange(0.001, 1e6), metavar="R", help="Requests a second. Default: the plan's."
    ),
)
FLEET = together(
    click.option(
        "--fleet",
        envvar="BULKSHARE_FLEET",
        metavar="ADDRESS",
        show_envvar=True,
        help="Let the workers of a Dask scheduler send: tls://host:8786, or local:4 for four on this machine.",
    ),
    click.option(
        "--fleet-credentials",
        type=click.Choice(["own", "pass"]),
        default="own",
        show_default=True,
        help="Each worker has its own clouds.yaml, or gets our credentials, which needs tls://.",
    ),
)
STOPS = together(
    click.option("--max-failures", metavar="N|P%", type=Share(), help="Stop when more pairs are refused or fail."),
    click.option(
        "--deadline",
        "deadline_seconds",
        metavar="DURATION",
        type=Duration(),
        default="inf",
        help="Stop after so long, e.g. 2h.",
    ),
    click.option(
        "--give-up-after",
        "give_up_after_seconds",
        metavar="DURATION",
        type=Duration(),
        default="15m",
        show_default=True,
        help="Stop when the endpoint has been down for so long.",
    ),
)
PRUNE = together(
    click.option("--prune", is_flag=True, help="Remove members that the plan doesn't name from all of its images."),
    click.option(
        "--prune-limit",
        metavar="P%",
        type=Percentage(),
        default="10%",
        show_default=True,
        help="Remove nobody from any image where more of an image's members would go.",
    ),
)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object on stdout.")
QUIET = click.option("-q", "--quiet", is_flag=True, help="Print nothing when every pair is as planned.")
OUTPUT = together(
    AS_JSON,
    QUIET,
    click.option("-v", "--verbose", is_flag=True, help="Log every answer."),
    click.option(
        "--log-format", type=click.Choice(["console", "json"]), default="console", help="The log's form, on stderr."
    ),
)
