"""A golden image pipeline on any cloud: builds, tenants, nightly runs, and checks of the cloud after each step.

Uses bulkshare by its command only, and the cloud by HTTP.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from tests.cloud import ADMIN, User, call

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from tests.cloud import CloudUnderTest
    from tests.shell import Shell

FIND = "GET /v2/images"
LIST = "GET /v2/images/{image}/members"
SET_SHARED = "PATCH /v2/images/{image}"
ADD = "POST /v2/images/{image}/members"
ACCEPT = "PUT /v2/images/{image}/members/{member}"
REMOVE = "DELETE /v2/images/{image}/members/{member}"
GET_MEMBER = "GET /v2/images/{image}/members/{member}"

CHANGES = 10  # exit code of a diff with changes
CANT_BE_DONE = 11  # and of one with something that can't be done
PASSWORD = "nightpw"
TENANTS = 12  # one that leaves is within the prune limit of 10 %

Members = dict[str, dict[str, str]]  # status by member ID, by image ID


class CommandResult(NamedTuple):
    """A command's output, and the requests that the cloud answered meanwhile.

    requests: those to the image service, by method and template.
    lookups: those to the identity service, without log-ins and a real image service's token validations.
    """

    out: str
    err: str
    requests: Counter[str]
    lookups: Counter[str]


def run_command(cloud: CloudUnderTest, shell: Shell, *args: str, exit_code: int = 0) -> CommandResult:
    """Run a command to its end, and count the requests that the cloud answers meanwhile."""
    cloud.mark()
    done = shell.run(*args, exit_code=exit_code)
    counted = cloud.counted("identity").items()
    lookups = {request: count for request, count in counted if "project" in request or "domain" in request}
    return CommandResult(done.stdout, done.stderr, cloud.counted(), Counter(lookups))


def statuses(cloud: CloudUnderTest, image_id: str) -> dict[str, str]:
    """Return the image's member statuses by member ID; checks for duplicates. A private image has no members."""
    if visibility(cloud, image_id) == "private":
        return {}
    members = cloud.members(image_id)
    found = {member["member_id"]: member["status"] for member in members}
    assert len(found) == len(members), "duplicate member"
    return found


def set_status(cloud: CloudUnderTest, image_id: str, member_id: str, status: str) -> None:
    """Set a member's status, as the admin."""
    cloud._ask("PUT", f"{cloud.endpoint}/v2/images/{image_id}/members/{member_id}", {"status": status})


def visible(cloud: CloudUnderTest, user: str, project_id: str, owner_id: str) -> set[str]:
    """Return the IDs of an owner's images in a project's default image list."""
    url = f"{cloud.endpoint}/v2/images?owner={owner_id}&limit=1000"
    answer = call("GET", url, token=cloud.token(user, project_id))
    assert answer.status == 200, answer
    return {image["id"] for image in answer.json()["images"]}


def visibility(cloud: CloudUnderTest, image_id: str) -> str:
    """Return the image's visibility."""
    answer = call("GET", f"{cloud.endpoint}/v2/images/{image_id}", token=cloud.token(ADMIN.name))
    return str(answer.json()["visibility"])


def exported(shell: Shell, *args: str) -> dict[str, Counter[tuple[str, str, str]]]:
    """Count the rows of a run's export to CSV by action, result and status, for each image."""
    counts: dict[str, Counter[tuple[str, str, str]]] = {}
    for row in csv.DictReader(shell.run("export", "--format", "csv", *args).stdout.splitlines()):
        counts.setdefault(row["image_id"], Counter())[row["action"], row["result"], row["status"]] += 1
    return counts


def apply_changes(changes: Mapping[str, Any], members: Members) -> Members:
    """Return the members after the changes that `diff --json` shows."""
    found = {image_id: dict(statuses_by_id) for image_id, statuses_by_id in members.items()}
    for image in changes["images"]:
        image_members = found[image["image_id"]]
        image_members.update(dict.fromkeys(image["add"], "pending"))
        image_members.update(dict.fromkeys(image["accept"], "accepted"))
        for member_id in image["remove"]:
            del image_members[member_id]
    return found


@contextmanager
def competing_client(cloud: CloudUnderTest) -> Iterator[str]:
    """Proxy the image service; another client removes each member just before we do."""

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.forward()

        def do_DELETE(self) -> None:
            call("DELETE", f"{cloud.endpoint}{self.path}", token=cloud.token(ADMIN.name))
            self.forward()

        def forward(self) -> None:
            answer = call(self.command, f"{cloud.endpoint}{self.path}", token=self.headers["X-Auth-Token"])
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers.get("content-type", "application/json"))
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class Pipeline:
    """A project that builds golden images, a domain of tenants, and the plan that shares the images with them.

    All names are unique, so that one cloud can hold many pipelines. `members` are the members that the cloud should
    have by now.
    """

    def __init__(self, cloud: CloudUnderTest, shell: Shell) -> None:
        self.cloud = cloud
        self.shell = shell
        self.members: Members = {}
        self._name = uuid4().hex[:8]
        factory = User(f"factory-{self._name}", PASSWORD, f"factory-{self._name}", "member")
        self.factory = factory.name
        self.factory_id = cloud.create_project(factory.project)
        cloud.create_user(factory, {self.factory_id: factory.role})
        self._domain_id = cloud.create_domain(f"customers-{self._name}")
        self._tenant_count = 0
        self.tenants = [self.add_tenant() for _ in range(TENANTS)]
        self.add_tenant(enabled=False)
        self.partner = cloud.create_project(f"partner-{self._name}")
        self.tenant = User(f"tenant-{self._name}", PASSWORD, "", "member")  # of the first one
        cloud.create_user(self.tenant, {self.tenants[0]: self.tenant.role})
        self.write_plan()

    def write_plan(self) -> None:
        """Write the plan, which never changes, and the clouds.yaml that it needs."""
        self.shell.env["OS_CLIENT_CONFIG_FILE"] = str(
            self.cloud.write_clouds_yaml(self.shell.directory / "clouds.yaml")
        )
        self.shell.write(
            "golden.yaml",
            f"""\
version: 1
name: golden-nightly
cloud: {ADMIN.name}
limits: {{rate: 1000}}
share:
  - images: [{{name: 'ubuntu-*', tag: golden, owner: {self.factory_id}, latest: 2, per: os_version}}]
    projects: [{{domain: customers-{self._name}}}]
    accept: true
    make_shared: true
    keep: [{{name: partner-{self._name}}}]
""",
        )

    def add_tenant(self, *, enabled: bool = True) -> str:
        """Create a tenant and return its ID."""
        self._tenant_count += 1
        name = f"tenant-{self._name}-{self._tenant_count:02}"
        return self.cloud.create_project(name, domain_id=self._domain_id, enabled=enabled)

    def build(self, name: str, **fields: Any) -> str:
        """Build an image and return its ID.

        IDs ascend, so that the latest of several images built within a second counts as the newest.
        """
        image_id = f"{len(self.members):08x}-{str(uuid4())[9:]}"
        fields = {"owner": self.factory, "tags": ("golden",), **fields}
        self.members[image_id] = {}
        return self.cloud.create_image(name, id=image_id, **fields)

    def upload(self, image_id: str) -> None:
        """Upload the data of a queued image."""
        self.cloud._ask("PUT", f"{self.cloud.endpoint}/v2/images/{image_id}/file", b"data")

    def share_by_hand(self, image_id: str, member_id: str) -> None:
        """Make a project a member without bulkshare."""
        self.cloud.add_member(image_id, member_id)
        self.members[image_id][member_id] = "pending"

    def actual_members(self) -> Members:
        """Return the members that the cloud has."""
        return {image_id: statuses(self.cloud, image_id) for image_id in self.members}

    def run(self, *args: str, exit_code: int = 0) -> CommandResult:
        """Run the plan."""
        return run_command(self.cloud, self.shell, "run", "golden.yaml", "--prune", *args, exit_code=exit_code)

    def diff(self, *, exit_code: int) -> tuple[dict[str, Any], CommandResult]:
        """Return the changes that a run would make."""
        result = run_command(self.cloud, self.shell, "diff", "golden.yaml", "--prune", "--json", exit_code=exit_code)
        return json.loads(result.out), result

    def step(
        self, images: Collection[str], writes: Mapping[str, int], rows: Mapping[str, Mapping[tuple[str, str, str], int]]
    ) -> CommandResult:
        """Diff, run and diff again, and check output, requests, export and the cloud's members.

        images: the images that the plan selects.
        writes: the requests beyond those of a run without changes.
        rows: the export's rows, counted.
        """
        reads = {FIND: 1, LIST: len(images)}
        lookups = {"GET /v3/domains": 1, "GET /v3/projects": 2}
        if REMOVE in writes:  # for the name of who is removed
            lookups["GET /v3/projects/{project}"] = 1
        before = self.actual_members()
        shown, result = self.diff(exit_code=CHANGES)
        assert (result.requests, result.lookups) == (reads, lookups)
        assert self.actual_members() == before, "a diff writes nothing"
        expected = apply_changes(shown, before)
        assert expected == self.members, "a diff shows what the run will do"

        result = self.run()
        assert result.requests == {**reads, **writes}
        assert result.lookups == lookups
        assert self.actual_members() == self.members
        assert exported(self.shell) == rows
        assert visible(self.cloud, self.tenant.name, self.tenants[0], self.factory_id) == {
            image_id for image_id, found in self.members.items() if found.get(self.tenants[0]) == "accepted"
        }
        shown, again = self.diff(exit_code=0)
        assert (shown["changes"], shown["images"], again.requests) == (False, [], reads)
        return result

    def check_no_changes(self, images: Collection[str]) -> None:
        """Run without changes: it lists, writes nothing and logs a single line, or none with -q."""
        reads = {FIND: 1, LIST: len(images)}
        result = self.run()
        assert result.requests == reads
        assert len(result.err.splitlines()) == 1, result.err
        assert {key for counts in exported(self.shell).values() for key in counts} == {("share", "already", "accepted")}
        quiet = self.run("-q")
        assert (quiet.out, quiet.err, quiet.requests) == ("", "", reads)
        assert self.actual_members() == self.members


def run_pipeline(pipeline: Pipeline, remove: Callable[[str], None]) -> None:
    """Share the first builds, rotate them, replace a tenant, run again. `remove` deletes or disables a project."""
    members, tenants = pipeline.members, pipeline.tenants
    shared, already = ("share", "shared", "accepted"), ("share", "already", "accepted")
    accepted_now = ("share", "accepted", "accepted")
    accepted = dict.fromkeys(tenants, "accepted")

    # The plan selects the newest two builds of each release, including a private one, and nothing else.
    pipeline.build("ubuntu-24.04", os_version="24.04")
    old, new = (pipeline.build("ubuntu-24.04", os_version="24.04") for _ in range(2))
    jammy = pipeline.build("ubuntu-22.04", os_version="22.04", visibility="private")
    for name, fields in (("ubuntu-24.04", {}), ("debian-13", {"os_version": "13"})):
        pipeline.build(name, **fields)
    pipeline.build("ubuntu-24.04", os_version="24.04", tags=())
    pipeline.build("ubuntu-24.04", os_version="24.04", owner=ADMIN.name)
    newest = pipeline.build("ubuntu-24.04", os_version="24.04", active=False)
    pipeline.share_by_hand(old, pipeline.partner)
    pipeline.share_by_hand(old, tenants[0])
    for image_id in (old, new, jammy):
        members[image_id] |= accepted
    result = pipeline.step(
        [old, new, jammy],
        {SET_SHARED: 1, ADD: 3 * TENANTS - 1, ACCEPT: 3 * TENANTS},
        {old: {accepted_now: 1, shared: TENANTS - 1}, new: {shared: TENANTS}, jammy: {shared: TENANTS}},
    )
    assert any("made shared" in line and jammy in line for line in result.err.splitlines())
    assert visibility(pipeline.cloud, jammy) == "shared"

    # A new build under the old name: the oldest is no longer selected, and keeps its members.
    pipeline.upload(newest)
    members[newest] |= accepted
    pipeline.step(
        [new, newest, jammy],
        {ADD: TENANTS, ACCEPT: TENANTS},
        {newest: {shared: TENANTS}, new: {already: TENANTS}, jammy: {already: TENANTS}},
    )

    # One tenant leaves, another arrives: the former loses the selected images, a partner keeps them.
    leaving, arriving = tenants.pop(), pipeline.add_tenant()
    remove(leaving)
    pipeline.share_by_hand(newest, pipeline.partner)
    for image_id in (new, newest, jammy):
        del members[image_id][leaving]
        members[image_id][arriving] = "accepted"
    rows = {already: TENANTS - 1, shared: 1, ("remove", "removed", ""): 1}
    result = pipeline.step(
        [new, newest, jammy], {REMOVE: 3, ADD: 3, ACCEPT: 3}, dict.fromkeys((new, newest, jammy), rows)
    )
    assert result.err.count("to be removed") == 3
    assert result.err.index(leaving) < result.err.index("removing")
    assert members[old][leaving] == "accepted", "no longer selected"

    # No changes.
    pipeline.check_no_changes([new, newest, jammy])
