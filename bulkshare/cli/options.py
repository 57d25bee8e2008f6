"""The options that several commands share, and the types of their values. Cheap to import."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bulkshare.cli.command import Section
from bulkshare.cli.completion import complete_cloud, complete_file, complete_run

if TYPE_CHECKING:
    from collections.abc import Callable

    from bulkshare.model import PruneLimit
    from bulkshare.sandbox.faults import FaultRule

    Command = TypeVar("Command", bound=Callable[..., Any])


class Duration(click.ParamType[float]):
    """A duration such as 20ms or 2h, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        import durationpy  # noqa: PLC0415  only needed if a duration is given

        if value == "inf":
            return math.inf
        try:
            seconds = float(durationpy.from_str(value).total_seconds())
        except (durationpy.DurationError, OverflowError, ValueError):
            seconds = -1.0
        if seconds < 0:
            self.fail(f"{value!r} is not a duration; write e.g. 20ms, 30s, 15m or 2h", param, ctx)
        return seconds


class CountOrPercentage(click.ParamType[str]):
    """A number of pairs, or a percentage of them, as text."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text if it is one of the two."""
        number = str(value).removesuffix("%")
        if not number.isdecimal() or (value.endswith("%") and int(number) > 100):
            self.fail(f"{value!r} is neither a number of pairs nor a percentage of them", param, ctx)
        return str(value)


class PruneLimitText(click.ParamType["PruneLimit"]):
    """A prune limit such as 10%, as in a plan."""

    name = "limit"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> PruneLimit:
        """Return the limit."""
        from bulkshare.model import PruneLimit  # noqa: PLC0415  only needed if a limit is given

        try:
            return PruneLimit.parse(value)
        except ValueError as error:
            self.fail(f"{value!r} is not a prune limit; {error}", param, ctx)


class Fault(click.ParamType["FaultRule"]):
    """A rule for what fails on a sandbox, in the grammar of `sandbox.faults`."""

    name = "rule"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> FaultRule:
        """Return the rule."""
        from bulkshare.sandbox.faults import FaultRule  # noqa: PLC0415  only needed if a rule is given

        try:
            return FaultRule.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Answers(click.ParamType["str"]):
    """An answer of a sandbox where the documentation is silent, as `sandbox.ims.Behaviour` takes it."""

    name = "answer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the answer as it was given."""
        from bulkshare.sandbox.ims import Behaviour  # noqa: PLC0415  only needed if an answer is given

        try:
            Behaviour.parse([value])
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value)


# A URL with a password, as SQLAlchemy reads URLs: the password may contain "/" or "?" without quoting.
WITH_PASSWORD = re.compile(
    r"\w[\w+.-]*://([^:/]*:[^@]*@|.*[?&](password|passwd|sslpassword|ssl_key_password)=)", re.DOTALL
)


def _refuse_password(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Return the value. Refuse a password on the command line, which every user of this machine can list."""
    source = ctx.get_parameter_source(param.name or "")
    if value and source is click.core.ParameterSource.COMMANDLINE and WITH_PASSWORD.match(value):
        raise click.BadParameter(
            "everyone on this machine can see a password on the command line; put the URL into BULKSHARE_LEDGER, or "
            "the password into ~/.pgpass (PostgreSQL) or an option file: ?read_default_file=/home/me/.my.cnf (MariaDB)",
            ctx,
            param,
        )
    return value


def together(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Return one decorator that adds several options, listed in this order."""

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


# Those of `model.NotifyOn` and `model.WebhookFormat`, which `--help` need not import.
NOTIFY_ON = ("failure", "change", "always")
WEBHOOK_FORMATS = ("json", "slack", "alertmanager")
PLAN = click.argument("plan", type=click.Path(path_type=Path, allow_dash=True))
RUN = click.argument("run", required=False, shell_complete=complete_run)
LEDGER = click.option(
    "--ledger",
    envvar="BULKSHARE_LEDGER",
    metavar="PATH|URL",
    show_envvar=True,
    callback=_refuse_password,
    shell_complete=complete_file,
    help="The ledger. Default: ledger.db in the user's state directory.",
)
OS_CLOUD = click.option(
    "--os-cloud",
    "cloud",
    metavar="NAME",
    shell_complete=complete_cloud,
    help="The clouds.yaml entry to use if the plan names none.",
)
CLOUD = click.option(  # of a command without a plan
    "--os-cloud",
    "cloud",
    metavar="NAME",
    shell_complete=complete_cloud,
    help="The clouds.yaml entry to use. Default: that of OS_CLOUD.",
)
RESUME_CLOUD = click.option(
    "--os-cloud",
    "cloud",
    metavar="NAME",
    shell_complete=complete_cloud,
    help="The clouds.yaml entry to use. Default: the run's own.",
)
FAULTS = together(
    click.option(
        "--fault",
        "faults",
        multiple=True,
        metavar="RULE",
        type=Fault(),
        help="Make requests to the sandbox fail, e.g. 'POST members 503 10%'. May be given several times. "
        "`bulkshare sandbox --help` has the rules.",
    ),
    click.option(
        "--latency",
        "latency_seconds",
        type=Duration(),
        default="0s",
        metavar="DURATION",
        help="Delay of each answer of the sandbox, e.g. 20ms.",
    ),
    click.option(
        "--dialect",
        type=click.Choice(("openstack", "huawei", "otc")),
        default="openstack",
        help="The cloud that the sandbox plays: OpenStack, Huawei Cloud or Open Telekom Cloud.",
    ),
    click.option(
        "--answer",
        "answers",
        multiple=True,
        metavar="NAME=VALUE",
        type=Answers(),
        help="How Huawei Cloud's image service answers where the documentation is silent, e.g. partial=fail or "
        "job_seconds=2.5. May be given several times; `bulkshare help huawei` lists them.",
    ),
)
SANDBOX = together(
    click.option("--sandbox", is_flag=True, help="Use an embedded cloud that has the plan's images; no account."),
    FAULTS,
)
# The grammar of `sandbox.faults`, in the words of the manual.
FAULT_RULES = Section(
    "Rules of --fault",
    "METHOD TARGET EFFECT PERCENT% [retry-after=SECONDS] [times=N]",
    (
        ("METHOD", "GET, POST, PUT, DELETE, PATCH, HEAD or ANY"),
        (
            "TARGET",
            "members (/v2/images/{id}/members), member (one of them), images (all, or one), tokens (logins), projects "
            "(Keystone's) or any",
        ),
        ("EFFECT", ""),
        ("  503", "or another status from 200 to 599: that answer, and nothing is done"),
        ("  503-after", "the request takes effect, then gets that answer"),
        ("  reset", "the connection is cut, and nothing is done"),
        ("  reset-after", "the request takes effect, then the connection is cut"),
        ("  truncate", "the request takes effect; half of the answer's body is sent"),
        ("  hang", "no answer, and nothing is done"),
        ("PERCENT", "of the requests, 0 to 100, drawn for each"),
        ("retry-after", "a Retry-After header; only with a status"),
        ("times", "fire this many times at most"),
    ),
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
        "--rate", type=click.FloatRange(0.001, 1e6), metavar="R", help="Requests per second. Default: the plan's."
    ),
)
FLEET = together(
    click.option(
        "--fleet",
        envvar="BULKSHARE_FLEET",
        metavar="ADDRESS",
        show_envvar=True,
        help="Send through the workers of a Dask scheduler: tls://host:8786, or local:4 for four on this machine.",
    ),
    click.option(
        "--fleet-credentials",
        type=click.Choice(["own", "pass"]),
        default="own",
        show_default=True,
        help="own: each worker has its own clouds.yaml. pass: they get our credentials, which requires tls://.",
    ),
)
STOPS = together(
    click.option(
        "--max-failures",
        metavar="N|P%",
        type=CountOrPercentage(),
        help="Stop when more pairs are rejected or fail.",
    ),
    click.option(
        "--deadline",
        "deadline_seconds",
        metavar="DURATION",
        type=Duration(),
        default="inf",
        help="Stop after this long, e.g. 2h.",
    ),
    click.option(
        "--give-up-after",
        "give_up_after_seconds",
        metavar="DURATION",
        type=Duration(),
        default="15m",
        show_default=True,
        help="Stop when the endpoint or Keystone has been down for this long.",
    ),
)
PRUNE = together(
    click.option("--prune", is_flag=True, help="Remove members that the plan doesn't name from all of its images."),
    click.option(
        "--prune-limit",
        metavar="LIMIT",
        type=PruneLimitText(),
        help="Remove no members at all if any image would lose more of them, e.g. 5, 20% or '10%, at least 1'. "
        "Default: the plan's, or 10%.",
    ),
)
NOTIFY = together(
    click.option(
        "--on-finish",
        metavar="COMMAND",
        help="Run this at the end, however it ends, with the result as JSON on its standard input. No shell reads it.",
    ),
    click.option(
        "--webhook",
        envvar="BULKSHARE_WEBHOOK",
        metavar="URL|@FILE",
        show_envvar=True,
        help="Post the result there at the end. Others see a URL on the command line: use the variable, or a file.",
    ),
    click.option(
        "--webhook-format",
        type=click.Choice(WEBHOOK_FORMATS),
        help="What the webhook gets. Default: json.",
    ),
    click.option(
        "--notify-on",
        multiple=True,
        type=click.Choice(NOTIFY_ON),
        help="The ends to notify of; may be given several times. Default: always.",
    ),
)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object on stdout.")
FORMAT = click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "markdown"]),
    help="text for a terminal, the default; json, which is versioned and has a schema; markdown for a merge request.",
)
QUIET = click.option("-q", "--quiet", is_flag=True, help="Print nothing if every pair is as planned.")
OUTPUT = together(
    AS_JSON,
    QUIET,
    click.option("-v", "--verbose", is_flag=True, help="Log every answer."),
    click.option(
        "--log-format",
        type=click.Choice(["console", "json"]),
        default="console",
        show_default=True,
        help="Format of the log on stderr.",
    ),
)
SHOW_ONLY = together(
    click.option("--dry-run", is_flag=True, help="Show what would change, and send no write."),
    click.option(
        "-o",
        "--out",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Save what would change, so that `bulkshare run FILE` makes exactly these changes; send no write.",
    ),
)
CHANGE = together(SHOW_ONLY, LEDGER, WAIT_LOCK, CLOUD, LIMITS, STOPS, NOTIFY, OUTPUT)  # as its own plan says
UNDO = together(SHOW_ONLY, LEDGER, WAIT_LOCK, RESUME_CLOUD, LIMITS, STOPS, NOTIFY, OUTPUT)
YES = click.option("-y", "--yes", is_flag=True, help="Don't ask before the changes are made.")
