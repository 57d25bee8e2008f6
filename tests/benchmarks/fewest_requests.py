"""The requests that each command sends, as the cloud sees them, beside the fewest that would do. No clock is looked at.

    python -m tests.benchmarks.fewest_requests [--images 20] [--projects 120] [--json FILE]

The sandbox counts. The operator has the role `admin`, so that everything is possible; all options have their defaults.
The fewest are: a log-in, one list of all projects to find those that do not exist, one request for the details of all
images if anything is to be written, one listing of each image's members, and a write for each pair that is to change.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import tempfile
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.request_log import template_of
from tests.sandbox_cloud import SandboxCloud
from tests.shell import Shell
from tests.users import User

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.request_log import LoggedRequest

LOG_IN, DISCOVERY, PROJECTS, IMAGES = "log-in", "version discovery", "projects", "images"
LISTINGS, MEMBER, ADD, ACCEPT, REMOVE = "listings", "one member", "POST", "PUT", "DELETE"
KINDS = (  # of a request: what matches its method and path first
    (LOG_IN, r"POST /v3/auth/tokens"),
    (DISCOVERY, r"GET /(v3/?)?"),
    (PROJECTS, r"\w+ /v3/.*"),
    (IMAGES, r"GET /v2/images(/{image})?"),
    (LISTINGS, r"GET /v2/images/{image}/members"),
    (MEMBER, r"GET /v2/images/{image}/members/{member}"),
    (ADD, r"POST /v2/images/{image}/members"),
    (ACCEPT, r"PUT /v2/images/{image}/members/{member}"),
    (REMOVE, r"DELETE /v2/images/{image}/members/{member}"),
    ("other", r".*"),
)
COLUMNS = tuple(kind for kind, _ in KINDS)
OPERATOR = User("operator", "operatorpw", "images", "admin")


def kind_of(request: LoggedRequest) -> str:
    """Return the column of a request."""
    asked = f"{request.method} {template_of(request.target)}"
    return next(kind for kind, pattern in KINDS if re.fullmatch(pattern, asked))


@dataclass(frozen=True)
class Row:
    """What one command sent, and the fewest requests with which it could have found out and done the same."""

    step: str
    sent: Mapping[str, int]
    fewest: Mapping[str, int]

    @property
    def beyond(self) -> dict[str, int]:
        """How many more than the fewest were sent, by kind."""
        return {kind: more for kind in COLUMNS if (more := self.sent.get(kind, 0) - self.fewest.get(kind, 0))}


class Scenario:
    """An operator with images and projects, and the commands they give one after the other."""

    def __init__(self, cloud: SandboxCloud, shell: Shell, images: int, projects: int) -> None:
        self._cloud = cloud
        self._shell = shell
        cloud.create_user(OPERATOR, {cloud.create_project(OPERATOR.project): OPERATOR.role})
        shell.env["OS_CLIENT_CONFIG_FILE"] = str(cloud.write_clouds_yaml(shell.directory / "clouds.yaml"))
        shell.env["OS_CLOUD"] = OPERATOR.name
        self.projects = cloud.create_projects(projects, "tenant")
        self.images = [cloud.create_image(f"golden-{number}", owner=OPERATOR.name) for number in range(images)]
        self.rows: list[Row] = []

    def plan(self, name: str, projects: list[str], *more: str) -> str:
        """Write a plan that shares all images with these projects, and return its file's name."""
        lines = ["version: 1", f"name: {name}", "limits: {rate: 100000}", "share:"]
        lines += [f"  - images: {json.dumps(self.images)}", f"    projects: {json.dumps(projects)}"]
        self._shell.write(f"{name}.yaml", "\n".join([*lines, *(f"    {line}" for line in more)]) + "\n")
        return f"{name}.yaml"

    def take(self, step: str, fewest: Mapping[str, int], *command: str, exit_code: int = 0) -> None:
        """Run a command and keep what it sent."""
        self._cloud.mark()
        self._shell.run(*command, exit_code=exit_code)
        self._keep(step, fewest)

    def take_killed(self, step: str, fewest: Mapping[str, int], *command: str, adds: int) -> None:
        """Run a command that is killed when the cloud has taken so many POSTs, before the last is answered."""
        self._cloud.mark()
        seen = 0

        def count(request: LoggedRequest) -> None:
            nonlocal seen
            seen += kind_of(request) == ADD
            if seen == adds:
                os.kill(process.pid, signal.SIGKILL)

        self._cloud.on_logged = count
        process = self._shell.start(*command)
        process.wait()
        self._cloud.on_logged = None
        self._keep(step, fewest)

    def run_last(self) -> str:
        """Return the key of the last run."""
        return str(self._shell.run_json("show")["run"])

    def change(self, member_ids: list[str], status: str) -> None:
        """Set these projects' memberships of all images to a status, as others do."""
        for image_id in self.images:
            for member_id in member_ids:
                self._cloud.set_status(image_id, member_id, status)

    def incomplete(self) -> int:
        """Count the images that lack members: the others were settled a moment ago, and are not listed again."""
        return sum(len(self._cloud.member_ids(image_id)) < len(self.projects) for image_id in self.images)

    def empty(self) -> None:
        """Remove all members and forget the ledger."""
        for image_id in self.images:
            for member_id in self._cloud.member_ids(image_id):
                self._cloud.remove_member(image_id, member_id)
        for file in self._shell.directory.glob("ledger.db*"):
            file.unlink()

    def _keep(self, step: str, fewest: Mapping[str, int]) -> None:
        logged = [*self._cloud.logged("identity"), *self._cloud.logged()]
        sent = Counter(map(kind_of, logged))
        assert sent.keys() <= set(COLUMNS)
        self.rows.append(Row(step, dict(sent), fewest))


def measure(scenario: Scenario) -> list[Row]:
    """Give all commands and return what they sent."""
    images, projects = len(scenario.images), len(scenario.projects)
    pairs, half = images * projects, len(scenario.projects) // 2
    log_in = {LOG_IN: 1}
    listed = {**log_in, LISTINGS: images}
    plan = scenario.plan("golden", scenario.projects)
    looked = {**listed, PROJECTS: 1, IMAGES: 1}
    scenario.take("diff before", looked, "diff", "-q", plan, exit_code=10)
    scenario.take("first run", {**looked, ADD: pairs}, "run", "-q", plan)
    scenario.take("second run", {**listed, PROJECTS: 1}, "run", "-q", plan)
    scenario.take("diff", {**listed, PROJECTS: 1}, "diff", "-q", plan)
    scenario.take("verify", {**listed, PROJECTS: 1}, "verify", "-q", plan)
    scenario.change(scenario.projects[:half], "accepted")
    accepting = scenario.plan("accepting", scenario.projects, "accept: true")
    fewest = {**listed, PROJECTS: 1, IMAGES: 1, ACCEPT: images * (projects - half)}
    scenario.take("accept, half of them pending", fewest, "run", "-q", accepting)
    new = scenario.projects[half:]
    pruning = scenario.plan("pruning", new, "accept: true", "prune: true", "prune_limit: 100%")
    fewest = {**listed, PROJECTS: 1, IMAGES: 1, REMOVE: images * half}
    scenario.take("prune of half", fewest, "run", "-q", pruning)
    fewest = {**looked, ADD: images * half, ACCEPT: images * half}  # those removed had accepted
    scenario.take("undo of that", fewest, "undo", "-q", scenario.run_last())
    # Before and after, hidden images with a list of their own: only that certifies anything.
    fewest = {**log_in, PROJECTS: 1, IMAGES: 4, LISTINGS: 2 * images, REMOVE: images}
    scenario.take("offboard of one project", fewest, "offboard", "-q", "-y", scenario.projects[0])
    scenario.empty()
    fewest = {**listed, PROJECTS: 1, IMAGES: 1, ADD: pairs // 2}
    killed = ("run", "-q", plan, "--concurrency", "1")
    scenario.take_killed("run, killed at half", fewest, *killed, adds=pairs // 2)
    fewest = {**log_in, LISTINGS: scenario.incomplete(), PROJECTS: 1, IMAGES: 1, ADD: pairs // 2}
    scenario.take("resume", fewest, "resume", "-q")
    return scenario.rows


def table(rows: list[Row]) -> str:
    """Return the rows in Markdown: what was sent, and what of it is beyond the fewest."""
    shown = [kind for kind in COLUMNS if any(row.sent.get(kind) for row in rows)]
    lines = [f"| | {' | '.join(shown)} | beyond the fewest |", f"|{'---|' * (len(shown) + 2)}"]
    for row in rows:
        beyond = ", ".join(f"{kind} {more:+,}" for kind, more in row.beyond.items())
        cells = (f"{row.sent.get(kind, 0):,}" if row.sent.get(kind) else "" for kind in shown)
        lines.append(f"| {row.step} | {' | '.join(cells)} | {beyond} |")
    return "\n".join(lines)


@contextmanager
def workplace() -> Iterator[tuple[SandboxCloud, Shell]]:
    """Serve a cloud and make a directory to work in, for as long as the context lasts."""
    with SandboxCloud() as cloud, tempfile.TemporaryDirectory(prefix="bulkshare-requests-") as directory:
        shell = Shell(Path(directory))
        shell.env["BULKSHARE_LEDGER"] = str(shell.directory / "ledger.db")
        try:
            yield cloud, shell
        finally:
            shell.close()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--projects", type=int, default=120)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    given = parser.parse_args()
    with workplace() as (cloud, shell):
        rows = measure(Scenario(cloud, shell, given.images, given.projects))
    print(table(rows))
    if given.json is not None:
        document = [{"step": row.step, "sent": row.sent, "fewest": row.fewest} for row in rows]
        given.json.write_text(json.dumps(document, indent=1), "utf-8")


if __name__ == "__main__":
    main()
