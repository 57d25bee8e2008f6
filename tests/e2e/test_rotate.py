"""The plan that shares the newest builds, and older ones with no one, as a user runs it."""

from __future__ import annotations

import re
import shutil
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.shell import Shell

ROTATE = Path(__file__).parents[2] / "plans" / "rotate.yaml"
ON_SANDBOX = ("--os-cloud", "sandbox")
NEWEST = 2


def builds(shell: Shell) -> dict[str, list[str]]:
    """Return the dates of the builds that anyone is a member of, by series, oldest first."""
    found = defaultdict(list)
    plan = shell.run("import", "--image", "ubuntu-*", "-q", *ON_SANDBOX).stdout
    for series, date in re.findall(r"# (ubuntu-[0-9.]+)-([0-9]+)$", plan, re.MULTILINE):
        found[series].append(date)
    return {series: sorted(dates) for series, dates in found.items()}


def test_the_newest_two_and_the_rest_for_no_one(shell: Shell) -> None:
    """Older builds lose all their members, the newest none; nothing is left to do."""
    shell.start_sandbox("--example")
    shutil.copy(ROTATE, shell.directory)
    shell.run("share", "ubuntu-*", "--to", "domain=customers,name=team-*", "-q", *ON_SANDBOX)
    before = builds(shell)
    assert max(map(len, before.values())) > NEWEST
    done = shell.run_json("run", "rotate.yaml", *ON_SANDBOX)
    older = sum(len(dates[:-NEWEST]) for dates in before.values())
    newest = sum(len(dates[-NEWEST:]) for dates in before.values())
    assert done["removed"] / older == done["already"] / newest
    assert builds(shell) == {series: dates[-NEWEST:] for series, dates in before.items()}
    assert "No changes" in shell.run("diff", "rotate.yaml", *ON_SANDBOX).stdout
