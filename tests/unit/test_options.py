"""One record of options: the command line and the Python API fill in the same fields, with the same defaults."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

import pytest

from bulkshare.api import RunOptions
from bulkshare.operations.options import Options
from tests.commands import parse_command

FIELDS = {field.name for field in fields(Options)}
OF_THE_COMMAND = {"plan", "run", "out", "all_pairs", "strict", "metrics_file"} | {
    "on_finish",
    "webhook",
    "webhook_format",
    "notify_on",
    "as_json",
    "form",
    "quiet",
    "verbose",
    "log_format",
}


def params_of(command: str, *arguments: str) -> dict[str, Any]:
    """Return what click makes of a command's arguments."""
    return parse_command([command, *arguments]).params


def test_the_python_api_has_the_fields_of_the_record() -> None:
    """Whatever `run(plan, ...)` takes is a field, but for the callback; fleets and sandboxes are the command line's."""
    command_line = {"fleet", "fleet_credentials", "faults", "latency_seconds", "dialect", "answers", "origin"}
    assert set(RunOptions.__annotations__) - {"on_progress"} == FIELDS - command_line


@pytest.mark.parametrize("command", ["run", "diff", "resume", "verify"])
def test_options_of_commands_are_fields(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing given, each has the default of the record."""
    monkeypatch.delenv("BULKSHARE_LEDGER", raising=False)
    given = {name: value for name, value in params_of(command, "nightly").items() if name not in OF_THE_COMMAND}
    assert given
    assert asdict(Options(**given)) == asdict(Options())


def test_no_preflight() -> None:
    """The flag takes away what is the default."""
    assert params_of("run", "nightly")["preflight"] is True
    assert params_of("run", "nightly", "--no-preflight")["preflight"] is False


@pytest.mark.parametrize(
    ("asked", "allowed"), [(None, float("inf")), (3, 3.0), ("3", 3.0), ("5%", 10.0), ("0", 0.0), (0, 0.0)]
)
def test_failures_allowed(asked: int | str | None, allowed: float) -> None:
    """A number of pairs, or a share of the planned ones."""
    assert Options(max_failures=asked).failures_allowed(200) == allowed
