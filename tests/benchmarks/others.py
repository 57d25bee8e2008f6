"""bulkshare beside what people use today, on a real Keystone and Glance: the same pairs, new images for everyone.

The clients of the command line get few pairs, because they take more than a second for each; what is compared is how
many pairs a second there are. The bare aiohttp loop is taken at several numbers in flight: the best of them is as fast
as the server goes. bulkshare finds that number by itself, from a limit of 64.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from sys import executable
from typing import TYPE_CHECKING

from tests.benchmarks.client_limit import ids
from tests.benchmarks.measure import BULKSHARE, Taken, take
from tests.environment import Environment
from tests.realcloud.cloud import RealCloud
from tests.realcloud.installation import install_services

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent
USER = "alice"
PROJECTS = 100  # members of one image; Glance's own limit is 128
THREADS = 32
LIMIT = 64
SHELL_LOOP = """
while read image project; do
  {command} "$image" "$project" > /dev/null || exit 1
done < pairs
"""


@dataclass(frozen=True)
class Sizes:
    """How many pairs each kind of contender gets in a round, and how many the bare loop has in flight."""

    command_line: int = 5
    serial: int = 100
    others: int = 2_000
    in_flight: tuple[int, ...] = (2, 4, 8, 16, 32, 64)  # of the bare loop


class Others:
    """The contenders on a real cloud, in a directory to work in."""

    def __init__(self, cloud: RealCloud, directory: Path, environ: dict[str, str], sizes: Sizes) -> None:
        self._cloud = cloud
        self._directory = directory
        self._sizes = sizes
        self._plans = count(1)
        self._second = Path()
        self.requests: dict[str, int] = {}  # of bulkshare's last first and second run
        self._environment = {
            **environ,
            "OS_CLIENT_CONFIG_FILE": str(cloud.write_clouds_yaml(directory / "clouds.yaml")),
            "OS_CLOUD": USER,
            "BULKSHARE_LEDGER": str(directory / "ledger.db"),
        }

    def contenders(self) -> dict[str, Callable[[], Taken]]:
        """Return who competes, by name."""
        openstack = [str(self._cloud.installation.python.with_name("openstack")), "image", "add", "project"]
        found: dict[str, Callable[[], Taken]] = {}
        found["openstack image add project, shell loop"] = partial(self._loop, openstack)
        glance = shutil.which("glance")
        if glance is not None:
            found["glance member-create, shell loop"] = partial(
                self._loop, [glance, "member-create"], self._by_variables()
            )
        found["openstacksdk, serial"] = partial(self._sdk, 1, self._sizes.serial)
        found[f"openstacksdk, {THREADS} threads"] = partial(self._sdk, THREADS, self._sizes.others)
        for in_flight in self._sizes.in_flight:
            found[f"bare aiohttp loop, {in_flight} in flight"] = partial(self._bare, in_flight)
        found["bulkshare, first run"] = self._first_run
        found["bulkshare, second run"] = self._second_run
        return found

    def _new_pairs(self, pairs: int) -> tuple[list[str], list[str]]:
        """Make images for about so many pairs, write the pairs as lines, and return images and projects.

        The cloud has no other images: it gets slower with each member that it has.
        """
        self._cloud.forget_images()
        projects = ids("project", min(pairs, PROJECTS))
        images = [self._cloud.create_image(owner=USER) for _ in range(max(pairs // len(projects), 1))]
        lines = "".join(f"{image} {project}\n" for image in images for project in projects)
        (self._directory / "pairs").write_text(lines, "utf-8")
        return images, projects

    def _by_variables(self) -> dict[str, str]:
        """Return how a client logs in that does not read clouds.yaml."""
        user = self._cloud.users[USER]
        return {
            "OS_AUTH_URL": self._cloud.auth_url,
            "OS_USERNAME": user.name,
            "OS_PASSWORD": user.password,
            "OS_PROJECT_NAME": user.project,
            "OS_USER_DOMAIN_NAME": "Default",
            "OS_PROJECT_DOMAIN_NAME": "Default",
        }

    def _take(self, command: list[str], pairs: int, more: dict[str, str] | None = None) -> Taken:
        return take(command, pairs, directory=self._directory, environment={**self._environment, **(more or {})})

    def _loop(self, command: list[str], more: dict[str, str] | None = None) -> Taken:
        images, projects = self._new_pairs(self._sizes.command_line)
        script = SHELL_LOOP.format(command=" ".join(command))
        return self._take(["bash", "-c", script], len(images) * len(projects), more)

    def _sdk(self, threads: int, pairs: int) -> Taken:
        images, projects = self._new_pairs(pairs)
        command = [executable, str(HERE / "sdk_loop.py"), USER, "pairs", str(threads)]
        return self._take(command, len(images) * len(projects))

    def _bare(self, in_flight: int) -> Taken:
        images, projects = self._new_pairs(self._sizes.others)
        token = self._cloud.token(USER)
        command = [executable, str(HERE / "bare_loop.py"), self._cloud.endpoint, token, "pairs", str(in_flight)]
        taken = self._take(command, len(images) * len(projects))
        return replace(taken, work_seconds=float((self._directory / "out").read_text("utf-8")))

    def _first_run(self) -> Taken:
        images, projects = self._new_pairs(self._sizes.others)
        name = f"plan-{next(self._plans)}"
        limits = {"concurrency": LIMIT, "rate": 10_000, "per_image": LIMIT}
        plan = {"version": 1, "name": name, "cloud": USER, "check_projects": "never", "limits": limits}
        plan["share"] = [{"images": images, "projects": projects}]
        self._second = self._directory / f"{name}.yaml"
        self._second.write_text(json.dumps(plan), "utf-8")  # JSON is YAML
        return self._run("first run", len(images) * len(projects), "shared")

    def _second_run(self) -> Taken:
        return self._run("second run", self._sizes.others // PROJECTS * PROJECTS, "already")

    def _run(self, which: str, pairs: int, result: str) -> Taken:
        taken = self._take([BULKSHARE, "run", str(self._second), "--json"], pairs)
        summary = json.loads((self._directory / "out").read_text("utf-8"))
        if summary[result] != pairs:
            raise SystemExit(f"the {which} was to have {pairs} pairs {result}: {summary}")
        self.requests[which] = summary["requests"]
        return replace(taken, work_seconds=summary["seconds"])


@contextmanager
def others(sizes: Sizes) -> Iterator[Others]:
    """Start the cloud and make everything ready."""
    environment = Environment.capture()
    directory = Path(tempfile.mkdtemp(prefix="bulkshare-others-"))
    environ = environment.without_foreign()
    installation = install_services(environment.cache, environment.variables)
    (directory / "cloud").mkdir()
    try:
        with RealCloud(installation, directory / "cloud", environ=environ) as cloud:
            yield Others(cloud, directory, {**environ, "PATH": os.environ["PATH"]}, sizes)
    finally:
        shutil.rmtree(directory)
