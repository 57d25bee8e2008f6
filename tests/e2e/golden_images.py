"""A night with golden images on any cloud, step by step: builds, tenants, runs, and what the cloud says afterwards.

Knows bulkshare by its command alone, and the cloud by HTTP.
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
OPEN = "PATCH /v2/images/{image}"
ADD = "POST /v2/images/{image}/members"
ACCEPT = "PUT /v2/images/{image}/members/{member}"
REMOVE = "DELETE /v2/images/{image}/members/{member}"
ASK = "GET /v2/images/{image}/members/{member}"

CHANGES = 10  # the exit code of a diff that shows some
PASSWORD = "nightpw"
TENANTS = 12  # so that one that leaves is less than the tenth that a prune may take

Members = dict[str, dict[str, str]]  # status by member ID, by image ID


class Told(NamedTuple):
    """What a command said, and what the cloud was asked meanwhile.

    `requests` are the image service's, by method and template. `lookups` are the identity service's, but for log-ins
    and what a real image service asks it about tokens.
    """

    out: str
    err: str
    requests: Counter[str]
    lookups: Counter[str]


def tell(cloud: CloudUnderTest, shell: Shell, *args: str, exit_code: int = 0) -> Told:
    """Run a command to its end, and count what the cloud is asked meanwhile."""
    cloud.mark()
    done = shell.run(*args, exit_code=exit_code)
    asked = {what: times for what, times in cloud.counted("identity").items() if "project" in what or "domain" in what}
    return Told(done.stdout, done.stderr, cloud.counted(), Counter(asked))


def statuses(cloud: CloudUnderTest, image_id: str) -> dict[str, str]:
    """Return the status of each of the image's members, by member ID; none is there twice. A private image has none."""
    if visibility(cloud, image_id) == "private":
        return {}
    members = cloud.members(image_id)
    found = {member["member_id"]: member["status"] for member in members}
    assert len(found) == len(members), "a member is there twice"
    return found


def set_status(cloud: CloudUnderTest, image_id: str, member_id: str, status: str) -> None:
    """Let a member say what it thinks of the image; the admin speaks for it."""
    cloud._ask("PUT", f"{cloud.endpoint}/v2/images/{image_id}/members/{member_id}", {"status": status})


def visible(cloud: CloudUnderTest, user: str, project_id: str, owner_id: str) -> set[str]:
    """Return which images of an owner's a user finds in the list that a project gets by default."""
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


def after(changes: Mapping[str, Any], members: Members) -> Members:
    """Return what the members are once the changes that `diff --json` shows are made."""
    found = {image_id: dict(those) for image_id, those in members.items()}
    for image in changes["images"]:
        those = found[image["image_id"]]
        those.update(dict.fromkeys(image["add"], "pending"))
        those.update(dict.fromkeys(image["accept"], "accepted"))
        for member_id in image["remove"]:
            del those[member_id]
    return found


@contextmanager
def a_rival(cloud: CloudUnderTest) -> Iterator[str]:
    """Serve the cloud's images as they are, but for somebody who removes each member a moment before we do."""

    class Rival(BaseHTTPRequestHandler):
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

    with ThreadingHTTPServer(("127.0.0.1", 0), Rival) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class Night:
    """A project that builds golden images, a domain of tenants that get them, and the plan that says so.

    Everything has names of its own, so that many nights fit into one cloud. `members` is what the cloud's members are
    to be by now.
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
        self._arrived = 0
        self.tenants = [self.arrive() for _ in range(TENANTS)]
        self.arrive(enabled=False)
        self.partner = cloud.create_project(f"partner-{self._name}")
        self.tenant = User(f"tenant-{self._name}", PASSWORD, "", "member")  # of the first one
        cloud.create_user(self.tenant, {self.tenants[0]: self.tenant.role})
        self.write_plan()

    def write_plan(self) -> None:
        """Write the plan, which stays as it is, and the clouds.yaml that it needs."""
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

    def arrive(self, *, enabled: bool = True) -> str:
        """Let a new tenant come and return its ID."""
        self._arrived += 1
        name = f"tenant-{self._name}-{self._arrived:02}"
        return self.cloud.create_project(name, domain_id=self._domain_id, enabled=enabled)

    def build(self, name: str, **fields: Any) -> str:
        """Build an image and return its ID, which is greater than those of all before: of one second, it is newer."""
        image_id = f"{len(self.members):08x}-{str(uuid4())[9:]}"
        fields = {"owner": self.factory, "tags": ("golden",), **fields}
        self.members[image_id] = {}
        return self.cloud.create_image(name, id=image_id, **fields)

    def upload(self, image_id: str) -> None:
        """End a build that has no data yet."""
        self.cloud._ask("PUT", f"{self.cloud.endpoint}/v2/images/{image_id}/file", b"data")

    def share_by_hand(self, image_id: str, member_id: str) -> None:
        """Make a project a member without bulkshare."""
        self.cloud.add_member(image_id, member_id)
        self.members[image_id][member_id] = "pending"

    def found(self) -> Members:
        """Return the members that the cloud tells."""
        return {image_id: statuses(self.cloud, image_id) for image_id in self.members}

    def run(self, *args: str, exit_code: int = 0) -> Told:
        """Run the plan."""
        return tell(self.cloud, self.shell, "run", "golden.yaml", "--prune", *args, exit_code=exit_code)

    def diff(self, *, exit_code: int) -> tuple[dict[str, Any], Told]:
        """Return what a run would do."""
        told = tell(self.cloud, self.shell, "diff", "golden.yaml", "--prune", "--json", exit_code=exit_code)
        return json.loads(told.out), told

    def step(
        self, images: Collection[str], writes: Mapping[str, int], rows: Mapping[str, Mapping[tuple[str, str, str], int]]
    ) -> Told:
        """Run the plan, for which the cloud means `images`, and check all that is there to see of it.

        `writes` are the requests beyond those of a night in which nothing changes, `rows` the export's, counted; on the
        cloud there has to be what `members` says.
        """
        reads = {FIND: 1, LIST: len(images)}
        lookups = {"GET /v3/domains": 1, "GET /v3/projects": 2}
        before = self.found()
        shown, told = self.diff(exit_code=CHANGES)
        assert (told.requests, told.lookups) == (reads, lookups)
        assert self.found() == before, "a diff writes nothing"
        expected = after(shown, before)
        assert expected == self.members, "a diff shows what is to come"

        told = self.run()
        assert told.requests == {**reads, **writes}
        assert told.lookups == lookups
        assert self.found() == self.members
        assert exported(self.shell) == rows
        assert visible(self.cloud, self.tenant.name, self.tenants[0], self.factory_id) == {
            image_id for image_id, those in self.members.items() if those.get(self.tenants[0]) == "accepted"
        }
        shown, again = self.diff(exit_code=0)
        assert (shown["changes"], shown["images"], again.requests) == (False, [], reads)
        return told

    def rest(self, images: Collection[str]) -> None:
        """Run with nothing to do: it lists, writes nothing and logs a single line, with -q not even that."""
        reads = {FIND: 1, LIST: len(images)}
        told = self.run()
        assert told.requests == reads
        assert len(told.err.splitlines()) == 1, told.err
        assert {key for counts in exported(self.shell).values() for key in counts} == {("share", "already", "accepted")}
        quiet = self.run("-q")
        assert (quiet.out, quiet.err, quiet.requests) == ("", "", reads)
        assert self.found() == self.members


def pass_a_night(night: Night, remove: Callable[[str], None]) -> None:
    """Share the first builds, rotate them, lose a tenant and get one. `remove` takes a project away from the cloud."""
    members, tenants = night.members, night.tenants
    shared, already = ("share", "shared", "accepted"), ("share", "already", "accepted")
    accepted = dict.fromkeys(tenants, "accepted")

    # The newest two builds of each release are meant, also a private one; nothing else is.
    night.build("ubuntu-24.04", os_version="24.04")
    old, new = (night.build("ubuntu-24.04", os_version="24.04") for _ in range(2))
    jammy = night.build("ubuntu-22.04", os_version="22.04", visibility="private")
    for name, fields in (("ubuntu-24.04", {}), ("debian-13", {"os_version": "13"})):
        night.build(name, **fields)
    night.build("ubuntu-24.04", os_version="24.04", tags=())
    night.build("ubuntu-24.04", os_version="24.04", owner=ADMIN.name)
    newest = night.build("ubuntu-24.04", os_version="24.04", active=False)
    night.share_by_hand(old, night.partner)
    night.share_by_hand(old, tenants[0])
    for image_id in (old, new, jammy):
        members[image_id] |= accepted
    told = night.step(
        [old, new, jammy],
        {OPEN: 1, ADD: 3 * TENANTS - 1, ACCEPT: 3 * TENANTS},
        {old: {already: 1, shared: TENANTS - 1}, new: {shared: TENANTS}, jammy: {shared: TENANTS}},
    )
    assert any("made shared" in line and jammy in line for line in told.err.splitlines())
    assert visibility(night.cloud, jammy) == "shared"

    # A new build under the old name: the oldest falls out of the newest two, and keeps the members it has.
    night.upload(newest)
    members[newest] |= accepted
    night.step(
        [new, newest, jammy],
        {ADD: TENANTS, ACCEPT: TENANTS},
        {newest: {shared: TENANTS}, new: {already: TENANTS}, jammy: {already: TENANTS}},
    )

    # One tenant goes, another one comes: who is gone loses the images that are meant, a partner keeps them.
    gone, come = tenants.pop(), night.arrive()
    remove(gone)
    night.share_by_hand(newest, night.partner)
    for image_id in (new, newest, jammy):
        del members[image_id][gone]
        members[image_id][come] = "accepted"
    rows = {already: TENANTS - 1, shared: 1, ("remove", "removed", ""): 1}
    told = night.step([new, newest, jammy], {REMOVE: 3, ADD: 3, ACCEPT: 3}, dict.fromkeys((new, newest, jammy), rows))
    assert told.err.count("to be removed") == 3
    assert told.err.index(gone) < told.err.index("removing")
    assert members[old][gone] == "accepted", "it is not meant any more"

    # Nothing changes.
    night.rest([new, newest, jammy])
