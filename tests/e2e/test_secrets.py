"""Tokens and passwords never get out; text that controls a terminal or forges a line never gets in."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
import yaml

from bulkshare.sandbox import Dialect
from tests.chaos.served import ServedSandbox
from tests.cloud import ADMIN
from tests.sandbox_cloud import SandboxCloud
from tests.shell import UNKNOWN_IMAGE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.shell import Shell

ESCAPES = "\x1b[2J\x1b]0;owned\x07\u202eevil\u2066 \r\nforged=line\x9b31m\u200b"
PAGE = f"<html><title>{ESCAPES}</title><body>{'x' * 1_000_000}</body></html>".encode()
# What a terminal must never get from a server: ESC and CSI, bell, bidi marks, invisible ones.
DANGEROUS = ("\x1b", "\x9b", "\x07", "\u202e", "\u2066", "\u200b")


@pytest.fixture
def cloud() -> Iterator[SandboxCloud]:
    """Run a sandbox whose tokens the test can see."""
    with SandboxCloud() as cloud:
        yield cloud


def test_no_secret_in_any_output(shell: Shell, cloud: SandboxCloud) -> None:
    """Not in the most detailed logs, the ledger file, exports, reports, saved plans or the process list."""
    shell.env["OS_CLIENT_CONFIG_FILE"] = str(cloud.write_clouds_yaml(shell.directory / "clouds.yaml"))
    good, private = cloud.create_image(), cloud.create_image(visibility="private")
    plan = shell.plan([good, private, UNKNOWN_IMAGE], [f"p{n}" for n in range(30)], more="limits: {rate: 30}\n")

    process = shell.start("run", plan, "--os-cloud", "admin", "-v", "--log-format", "json")
    assert process.stderr is not None
    first_line = process.stderr.readline()
    command_line = Path(f"/proc/{process.pid}/cmdline").read_bytes()
    environment = Path(f"/proc/{process.pid}/environ").read_bytes()
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1

    seen = [first_line, out, err, command_line.decode(), environment.decode()]
    for args in (["show", "-n", "0"], ["show", "--failed"], ["runs"], ["export"], ["export", "--format", "csv"]):
        done = shell.run(*args)
        seen += [done.stdout, done.stderr]
    for args, exit_code in (
        (["run", plan, "--os-cloud", "admin", "-v", "--metrics-file", "plan.prom"], 1),
        (["diff", plan, "--os-cloud", "admin", "-v", "--prune", "--out", "saved.plan"], 11),
        (["report", "-o", "report.html"], 0),
    ):
        again = shell.run(*args, exit_code=exit_code)
        seen += [again.stdout, again.stderr]
    files = [shell.directory / name for name in ("plan.prom", "saved.plan", "report.html")]
    seen += [path.read_bytes().decode("latin-1") for path in (*files, *shell.directory.glob("ledger.db*"))]
    assert len(cloud.issued_tokens()) >= 2
    for secret in (*cloud.issued_tokens(), ADMIN.password):
        assert not [text for text in seen if secret in text]


class Keys(NamedTuple):
    """An access key: all of it is secret."""

    access: str = "ACCESSKEYUNLIKEALLELSE"
    secret: str = "secret-key-unlike-all-else"
    token: str = "security-token-unlike-all-else"


def test_no_access_key_in_any_output(shell: Shell) -> None:
    """Neither of its parts, nor a signature: the first run's, those of a refused key, and what is kept of them."""
    keys = Keys()
    served = ServedSandbox(2, latency_seconds=0.0, projects=12, dialect=Dialect.HUAWEI)
    with served as sandbox:
        admin = sandbox.cloud.admin
        sandbox.cloud.add_key_pair(
            keys.access, keys.secret, admin, sandbox.cloud.admin_project, security_token=keys.token
        )
        sandbox.serve_to(shell)
        clouds = yaml.safe_load((shell.directory / "clouds.yaml").read_text("utf-8"))
        parts = {"access_key": keys.access, "secret_key": keys.secret, "security_token": keys.token}
        clouds["clouds"]["sandbox"]["auth"].update(parts)
        shell.write("clouds.yaml", json.dumps(clouds))
        plan = shell.plan([*sandbox.images, UNKNOWN_IMAGE], [*sandbox.projects, "f" * 32])
        verbose = ("--os-cloud", "sandbox", "-v", "--log-format", "json")
        process = shell.start("run", plan, *verbose, "--metrics-file", "plan.prom")
        seen = [Path(f"/proc/{process.pid}/cmdline").read_text(), Path(f"/proc/{process.pid}/environ").read_text()]
        seen += process.communicate(timeout=120)
        assert process.returncode == 1, seen
        for args, exit_code in (
            (["diff", plan, *verbose, "--prune", "--out", "saved.plan"], 11),
            (["show", "-n", "0"], 0),
            (["export"], 0),
            (["report", "-o", "report.html"], 0),
        ):
            done = shell.run(*args, exit_code=exit_code)
            seen += [done.stdout, done.stderr]
        for wrong in ("secret_key", "security_token"):
            clouds["clouds"]["sandbox"]["auth"].update(parts, **{wrong: f"wrong-{parts[wrong]}"})
            shell.write("clouds.yaml", json.dumps(clouds))
            done = shell.run("run", plan, *verbose, exit_code=3)
            seen += [done.stdout, done.stderr]
            assert "refuses the signature" in done.stderr
    files = [shell.directory / name for name in ("plan.prom", "saved.plan", "report.html")]
    seen += [path.read_bytes().decode("latin-1") for path in (*files, *shell.directory.glob("ledger.db*"))]
    for secret in (*keys, "Signature="):
        assert not [text for text in seen if secret in text]


def test_no_secret_in_errors(shell: Shell, cloud: SandboxCloud) -> None:
    """A refused log-in does not reveal the password."""
    config = cloud.write_clouds_yaml(shell.directory / "clouds.yaml")
    shell.env["OS_CLIENT_CONFIG_FILE"] = str(config)
    config.write_text(config.read_text("utf-8").replace(ADMIN.password, "open-sesame-9"), "utf-8")
    done = shell.run("run", shell.plan(["i"], ["p"]), "--os-cloud", "admin", "-v", exit_code=3)
    assert "open-sesame-9" not in done.stdout + done.stderr


class Hostile(BaseHTTPRequestHandler):
    """An image service whose every answer is malicious."""

    def _answer(self) -> None:
        body = PAGE
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status = 403
        if self.command == "GET":
            status = 404
            body = json.dumps({"message": ESCAPES * 100, "code": ESCAPES}).encode()
        self.send_response(status, "No")
        self.send_header("X-Openstack-Request-Id", "req-\x1b[31mred")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _answer  # noqa: N815  # names that http.server looks for

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def hostile_endpoint() -> Iterator[str]:
    """Serve the hostile image service."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hostile)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("form", ["console", "json"])
def test_hostile_text_stays_text(shell: Shell, cloud: SandboxCloud, hostile_endpoint: str, form: str) -> None:
    """Escape sequences, bidi marks, line ends and a megabyte of text reach neither terminal, log nor export."""
    config = cloud.write_clouds_yaml(shell.directory / "clouds.yaml")
    entry = config.read_text("utf-8").replace(
        "    region_name:", f"    image_endpoint_override: {hostile_endpoint}\n    region_name:"
    )
    config.write_text(entry, "utf-8")
    shell.env["OS_CLIENT_CONFIG_FILE"] = str(config)
    plan = shell.plan(["image-1", "image-2"], ["p1", "p2"])
    done = shell.run("run", plan, "--os-cloud", "admin", "-v", "--log-format", form, exit_code=1)
    shown = shell.run("show")
    table = shell.run("export", "--format", "csv")
    for text in (
        done.stdout,
        done.stderr,
        shown.stdout,
        shell.run("export").stdout,
        table.stdout.replace("\r\n", "\n"),
    ):
        assert not [character for character in DANGEROUS if character in text]
        assert not [line for line in text.splitlines() if line.startswith("forged")]
        assert len(text) < 60_000
    assert "forged=line" in shown.stdout, "the words themselves are kept"
