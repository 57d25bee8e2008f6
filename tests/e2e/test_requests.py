"""How many requests each command sends, as the cloud counts them. None of these numbers may grow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.benchmarks.fewest_requests import (
    DISCOVERY,
    IMAGES,
    LISTINGS,
    LOG_IN,
    PROJECTS,
    Scenario,
    measure,
    table,
)
from tests.sandbox_cloud import SandboxCloud

if TYPE_CHECKING:
    from tests.shell import Shell

OWN, OTHERS = 4, 120  # images, and projects: more than are looked up one by one
ALWAYS = {DISCOVERY: 1}  # by keystoneauth1, at each log-in: a URL without a version is valid as well
BEYOND = {  # the fewest requests, by step; `tests/benchmarks/README.md` says why
    "diff before": ALWAYS,
    "first run": ALWAYS,
    "second run": ALWAYS,
    "diff": ALWAYS,
    "verify": ALWAYS,
    "accept, half of them pending": ALWAYS,
    "prune of half": ALWAYS,
    "undo of that": {LOG_IN: 1, DISCOVERY: 2, PROJECTS: 1, IMAGES: 1, LISTINGS: OWN},
    "offboard of one project": {LOG_IN: 2, DISCOVERY: 3, PROJECTS: 1, IMAGES: 1, LISTINGS: OWN},
    "run, killed at half": ALWAYS,
    "resume": ALWAYS,
}


def test_no_command_sends_more_than_it_must(shell: Shell) -> None:
    """One listing of each image serves all that is wanted of it, and only what is to change is written."""
    with SandboxCloud() as cloud:
        scenario = Scenario(cloud, shell, OWN, OTHERS)
        rows = measure(scenario)
        assert all(cloud.member_ids(image_id) == sorted(scenario.projects) for image_id in scenario.images)
    assert {row.step: row.beyond for row in rows} == BEYOND, table(rows)
