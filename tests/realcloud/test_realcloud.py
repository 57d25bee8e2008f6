"""The properties of the real cloud that other tests rely on."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.cloud import call

if TYPE_CHECKING:
    from tests.environment import Environment
    from tests.realcloud.cloud import RealCloud
    from tests.realcloud.installation import Installation

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
SERVE_UNTIL_KILLED = """
import signal, sys
from pathlib import Path
from tests.environment import Environment
from tests.realcloud.cloud import RealCloud
from tests.realcloud.installation import Installation

venv, template, state = map(Path, sys.argv[1:])
with RealCloud(Installation(venv, template), state, environ=Environment.capture().without_foreign()) as cloud:
    print(cloud.auth_url, cloud.endpoint, flush=True)
    signal.pause()
"""


def wait_refused(url: str) -> None:
    """Wait until nothing listens there; a server that exits closes its connections, which ends each `recv`."""
    parts = urlsplit(url)
    assert parts.port is not None
    while True:
        try:
            connection = socket.create_connection((parts.hostname, parts.port), timeout=60)
        except ConnectionRefusedError:
            return
        with closing(connection):
            try:
                connection.recv(1)
            except ConnectionResetError:
                continue


def test_counts_requests(real_cloud: RealCloud) -> None:
    """A request is counted by the time its answer arrives, by method and a part of its target."""
    image_id = real_cloud.create_image()
    real_cloud.mark()
    assert real_cloud.logged() == []
    real_cloud.add_member(image_id, "p")
    target = f"/v2/images/{image_id}/members"
    assert real_cloud.logged() == [("POST", target, 200)]
    real_cloud.members(image_id)
    assert real_cloud.requests("GET", "/members") == real_cloud.requests("POST", "/members") == 1
    assert real_cloud.requests("POST") == real_cloud.requests("POST", image_id) == 1
    assert real_cloud.requests("PUT") == real_cloud.requests("POST", "/nope") == 0


def test_restart(real_cloud: RealCloud) -> None:
    """Glance can be stopped and started on its old address, with its data and another quota."""
    image_id = real_cloud.create_image()
    real_cloud.add_member(image_id, "p")
    usual = real_cloud.image_member_quota
    real_cloud.stop_glance()
    try:
        with pytest.raises(ConnectionRefusedError):
            call("GET", real_cloud.endpoint)
    finally:
        real_cloud.start_glance(image_member_quota=1)
    try:
        assert real_cloud.member_ids(image_id) == ["p"]
        path = f"{real_cloud.endpoint}/v2/images/{image_id}/members"
        assert call("POST", path, token=real_cloud.token("alice"), body={"member": "q"}).status == 413
    finally:
        real_cloud.restart_glance(image_member_quota=usual)


def test_nothing_survives_a_kill(installation: Installation, environment: Environment, tmp_path: Path) -> None:
    """The servers exit if the process that started them is killed."""
    arguments = [str(path) for path in (installation.venv, installation.template, tmp_path)]
    command = [sys.executable, "-c", SERVE_UNTIL_KILLED, *arguments]
    environ = {**environment.without_foreign(), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        urls = starter.stdout.readline().split()
        starter.send_signal(signal.SIGKILL)
    assert len(urls) == 2
    for url in urls:
        wait_refused(url)
