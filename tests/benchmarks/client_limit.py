"""How fast the client is where the server is not the limit: nginx answers every POST with the same 409.

Side by side, each on one core with nginx on another: a bare aiohttp loop (`bare_loop.py`), openstacksdk with threads,
wrk, and bulkshare with its ledger, its rate limiter (set high), its retries and its progress. A constant 200 would
not name the member that was asked for, and is rightly not believed. With TLS, nginx has a certificate of its own, which
all but wrk verify.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from sys import executable
from typing import TYPE_CHECKING

import trustme

from tests.benchmarks.measure import BULKSHARE, Taken, take
from tests.benchmarks.millions_stub import PROJECT, token

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent
LOOPBACK = "127.0.0.1"
IMAGES = 10
CONCURRENCY = 64
THREADS = 32
THREADED_PAIRS = 3_000  # it needs no more to show its pace
WRK_SECONDS = 5
CONFIGURATION = """
daemon off; worker_processes 1; pid {directory}/nginx.pid; error_log {directory}/nginx.log;
{user} worker_cpu_affinity {affinity};
events {{ worker_connections 1024; }}
http {{
  {log} default_type application/json; keepalive_requests 1000000000; keepalive_timeout 60s;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
  add_header X-Openstack-Request-Id req-0f6dd1b9-7f4c-4d3a-9b1e-$request_id always;
  server {{
    listen {host}:{port}{tls};
    location ~ ^/v2/images/[^/]+/members$ {{
      if ($request_method = POST) {{ return 409 '{conflict}'; }}
      return 200 '{{"members": [], "schema": "/v2/schemas/members"}}';
    }}
    location = /v2/images {{ return 200 '{images}'; }}
    location = /v3/auth/tokens {{ add_header X-Subject-Token constant always; return 201 '{token}'; }}
    location = / {{ return 300 '{versions}'; }}
    location / {{ return 200 '{version}'; }}
  }}
}}
"""
TLS = " ssl; ssl_certificate {directory}/own.pem; ssl_certificate_key {directory}/own.pem"
CONFLICT = {"message": "Image member already exists.<br /><br />\\n\\n\\n", "code": "409 Conflict", "title": "Conflict"}
WRK = """
wrk.method = "POST"
wrk.body = '{"member": "%s"}'
wrk.headers["Content-Type"] = "application/json"
wrk.headers["X-Auth-Token"] = "constant"
"""


def ids(what: str, count: int) -> list[str]:
    """Return so many IDs, always the same."""
    return [uuid.uuid5(uuid.NAMESPACE_DNS, f"{what} {number}").hex for number in range(count)]


@contextmanager
def nginx(
    directory: Path,
    images: list[str],
    core: int | None,
    *,
    tls: bool = False,
    host: str = LOOPBACK,
    log: str = "access_log off;",
) -> Iterator[str]:
    """Serve constants for as long as the context lasts; yield the address. With TLS, `ca.pem` is to be trusted.

    log: what is logged of requests.
    """
    with socket.create_server((host, 0)) as held:
        port = held.getsockname()[1]
    address = f"{'https' if tls else 'http'}://{host}:{port}"
    if tls:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(directory / "ca.pem"))
        own = authority.issue_cert(host)
        own.private_key_and_cert_chain_pem.write_to_path(str(directory / "own.pem"))
    links = [{"rel": "self", "href": f"{address}/v3/"}]
    image_links = [{"rel": "self", "href": f"{address}/v2/"}]
    image_version = {"id": "v2.17", "status": "CURRENT", "links": image_links}
    listed = [{"id": one, "status": "active", "visibility": "shared", "owner": PROJECT} for one in images]
    configuration = CONFIGURATION.format(
        directory=directory,
        user="user root;" if os.geteuid() == 0 else "",
        affinity="auto" if core is None else f"{1 << core:b}",
        log=log,
        host=host,
        port=port,
        tls=TLS.format(directory=directory) if tls else "",
        conflict=json.dumps(CONFLICT),
        images=json.dumps({"images": listed, "schema": "/v2/schemas/images"}),
        token=json.dumps({"token": token(address)}),
        versions=json.dumps({"versions": [image_version]}),
        version=json.dumps({"version": {"id": "v3.14", "status": "stable", "links": links}}),
    )
    with run_nginx(directory, configuration, host, port):
        yield address


@contextmanager
def run_nginx(directory: Path, configuration: str, host: str, port: int) -> Iterator[None]:
    """Run nginx for as long as the context lasts, from when it listens."""
    (directory / "nginx.conf").write_text(configuration, "utf-8")
    command = ["nginx", "-p", str(directory), "-c", str(directory / "nginx.conf"), "-e", str(directory / "nginx.log")]
    with subprocess.Popen(command) as server:
        try:
            for _ in range(100):
                with suppress(OSError), socket.create_connection((host, port)):
                    break
                time.sleep(0.05)
            yield
        finally:
            server.terminate()


class ClientLimit:
    """The contenders, in a directory with a plan, a clouds.yaml and the pairs as lines."""

    def __init__(self, directory: Path, address: str, images: list[str], pairs: int, core: int | None) -> None:
        self.directory = directory
        self.address = address
        self.pairs = pairs
        self._cores = None if core is None else {core}
        projects = ids("project", pairs // len(images))
        self._pairs = len(images) * len(projects)
        lines = "".join(f"{image} {project}\n" for image in images for project in projects)
        (directory / "pairs").write_text(lines, "utf-8")
        few = lines.splitlines(keepends=True)[:THREADED_PAIRS]
        (directory / "few-pairs").write_text("".join(few), "utf-8")
        self._few = len(few)
        (directory / "post.lua").write_text(WRK % projects[0], "utf-8")
        self._url = f"{address}/v2/images/{images[0]}/members"
        auth = {"auth_url": f"{address}/v3", "username": "u", "password": "p", "project_name": "stub"}
        auth |= {"user_domain_name": "Default", "project_domain_name": "Default"}
        self.authority = [str(directory / "ca.pem")] if address.startswith("https:") else []
        verify = dict(zip(["cacert"], self.authority, strict=False))
        clouds = {"clouds": {"nginx": {"auth_type": "v3password", "auth": auth, **verify}}}
        (directory / "clouds.yaml").write_text(json.dumps(clouds), "utf-8")  # JSON is YAML
        limits = {"concurrency": CONCURRENCY, "rate": 1_000_000, "per_image": CONCURRENCY, "members_per_image": 0}
        plan = {"version": 1, "name": "limit", "cloud": "nginx", "check_projects": "never", "limits": limits}
        plan["share"] = [{"images": images, "projects": projects}]
        (directory / "plan.yaml").write_text(json.dumps(plan), "utf-8")
        self.environment = {
            **{name: text for name, text in os.environ.items() if not name.startswith("OS_")},
            "OS_CLIENT_CONFIG_FILE": str(directory / "clouds.yaml"),
            "BULKSHARE_LEDGER": str(directory / "ledger.db"),
        }

    @property
    def bare(self) -> list[str]:
        """The bare loop, as a command of Python."""
        address, concurrency = self.address, str(CONCURRENCY)
        return [str(HERE / "bare_loop.py"), address, "constant", "pairs", concurrency, *self.authority]

    def compared(self) -> dict[str, Callable[[], Taken]]:
        """Return the two of which one is the measure of the other, by name."""
        return {"bare aiohttp loop": partial(self._take, [executable, *self.bare]), "bulkshare": self.bulkshare}

    def contenders(self) -> dict[str, Callable[[], Taken]]:
        """Return who competes, by name."""
        sdk = [executable, str(HERE / "sdk_loop.py"), "nginx", "few-pairs", str(THREADS)]
        return {
            **self.compared(),
            f"openstacksdk, {THREADS} threads": partial(self._take, sdk, self._few),
            **({"wrk, 1 thread": self._wrk} if shutil.which("wrk") else {}),
        }

    def _take(self, command: list[str], pairs: int | None = None, *, terminal: bool = False) -> Taken:
        return take(
            command,
            pairs or self._pairs,
            directory=self.directory,
            environment=self.environment,
            cores=self._cores,
            terminal=terminal,
        )

    def bulkshare(self, *options: str) -> Taken:
        """Run the plan with a new ledger."""
        for part in self.directory.glob("ledger.db*"):
            part.unlink()
        return self._take([BULKSHARE, "run", "plan.yaml", *options], terminal=True)

    def _wrk(self) -> Taken:
        """Let wrk send for some seconds: how many it sent is what it did."""
        command = ["wrk", "-t1", f"-c{CONCURRENCY}", f"-d{WRK_SECONDS}s", "-s", "post.lua", self._url]
        taken = self._take(command)
        told = (self.directory / "out").read_text("utf-8")
        sent = next(int(line.split()[0]) for line in told.splitlines() if " requests in " in line)
        return Taken(sent, taken.seconds, taken.cpu_seconds, taken.peak_bytes)


@contextmanager
def client_limit(pairs: int, *, images: int = IMAGES, tls: bool = False) -> Iterator[ClientLimit]:
    """Serve and make everything ready. With two cores or more, nginx has one and the client another."""
    cores = sorted(os.sched_getaffinity(0))
    client, server = (cores[0], cores[1]) if len(cores) > 1 else (None, None)
    directory = Path(tempfile.mkdtemp(prefix="bulkshare-limit-"))
    named = ids("image", images)
    try:
        with nginx(directory, named, server, tls=tls) as address:
            yield ClientLimit(directory, address, named, pairs, client)
    finally:
        shutil.rmtree(directory)
