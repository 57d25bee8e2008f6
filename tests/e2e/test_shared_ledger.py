"""Ledgers in PostgreSQL and MariaDB, shared by several hosts: everything that works with a file works there."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.engine import URL, make_url

from bulkshare.ledger import SqlLedger
from bulkshare.model import AS_PLANNED, Result
from tests.chaos.served import ServedSandbox
from tests.databases import PASSWORD, SHARED_DATABASES, USER

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from tests.databases import DatabaseServer
    from tests.shell import Shell

PROJECTS = [f"project-{number:03}" for number in range(50)]
ON_SANDBOX = ("--os-cloud", "sandbox")
AWAY_SECONDS = 3.0


@pytest.fixture(params=SHARED_DATABASES)
def server(request: pytest.FixtureRequest, database_server: Callable[[str], DatabaseServer]) -> DatabaseServer:
    """Return a database server."""
    return database_server(request.param)


@pytest.fixture
def sandbox(shell: Shell, server: DatabaseServer) -> Iterator[ServedSandbox]:
    """Serve a cloud to the shell, whose ledger is a new database."""
    shell.env["BULKSHARE_LEDGER"] = server.new_database()
    with ServedSandbox(10, latency_seconds=0.01) as sandbox:
        sandbox.serve_to(shell)
        yield sandbox


def slow_plan(shell: Shell, sandbox: ServedSandbox, *, rate: int = 100) -> str:
    """Return a plan that takes five seconds, or longer at a lower rate."""
    return shell.plan(sandbox.images, PROJECTS, more=f"limits: {{rate: {rate}}}\n")


def wait_for_posts(sandbox: ServedSandbox, count: int, process: subprocess.Popen[str]) -> None:
    """Wait until the cloud has received so many POSTs from a running command."""
    while sandbox.posts < count:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def require_complete(shell: Shell, sandbox: ServedSandbox) -> None:
    """Require that the cloud has each pair once, and the ledger has them all."""
    pairs = {(image, project) for image in sandbox.images for project in PROJECTS}
    ledger = SqlLedger.open(shell.env["BULKSHARE_LEDGER"])
    run = ledger.last_run()
    assert run is not None
    outcomes = {(row.image_id, row.member_id): row.result for row in ledger.outcomes(run.id)}
    ledger.close()
    assert set(outcomes) == set(sandbox.rows()) == pairs
    assert set(outcomes.values()) <= AS_PLANNED
    assert set(sandbox.rows().values()) == {1}


def test_all_commands(shell: Shell, sandbox: ServedSandbox) -> None:
    """Run, run again, show, runs, export, report, verify, resume, prune."""
    plan = shell.plan(sandbox.images, PROJECTS)
    first = shell.run_json("run", plan, *ON_SANDBOX)
    assert (first["shared"], first["planned"]) == (500, 500)
    second = shell.run_json("run", plan, *ON_SANDBOX)
    assert (second["already"], second["requests"]) == (500, 10)
    assert shell.run_json("show")["run"] == second["run"]
    assert len(shell.run("runs", "--json").stdout.splitlines()) == 2
    assert {row["result"] for row in shell.rows(first["run"])} == {"shared"}
    shell.run("report", "--output", "report.html")
    assert "500" in (shell.directory / "report.html").read_text("utf-8")
    shell.run("verify", plan, *ON_SANDBOX)
    assert "finished" in shell.run("resume", *ON_SANDBOX).stderr
    require_complete(shell, sandbox)
    assert "Deleted 2 runs with 1,000 pairs" in shell.run("ledger", "prune", "--keep", "0s").stdout
    assert not shell.run("runs", "--json").stdout


def test_one_run_of_a_plan_at_a_time(shell: Shell, sandbox: ServedSandbox) -> None:
    """A second run is refused, with the name of the first; a killed run gives up its lock, and can be continued."""
    plan = slow_plan(shell, sandbox)
    first = shell.start("run", plan, *ON_SANDBOX)
    wait_for_posts(sandbox, 100, first)
    held = shell.run("run", plan, *ON_SANDBOX, exit_code=75)
    assert f"process {first.pid}" in held.stderr
    first.kill()
    first.communicate()
    shell.run("run", plan, *ON_SANDBOX, "--wait-lock", "10s")
    require_complete(shell, sandbox)


def test_a_server_that_restarts(shell: Shell, sandbox: ServedSandbox, server: DatabaseServer) -> None:
    """The run waits for the server, takes its lock again, and loses nothing."""
    process = shell.start("run", slow_plan(shell, sandbox), *ON_SANDBOX)
    wait_for_posts(sandbox, 150, process)
    server.stop()
    time.sleep(AWAY_SECONDS)
    server.start()
    out, err = process.communicate(timeout=90)
    assert process.returncode == 0, out + err
    require_complete(shell, sandbox)


@pytest.mark.parametrize("command", ["run", "resume"])
def test_a_restart_loses_no_lock(shell: Shell, sandbox: ServedSandbox, server: DatabaseServer, command: str) -> None:
    """The run holds the plan's lock after the restart as before: a second start sends nothing."""
    plan = slow_plan(shell, sandbox, rate=50)
    arguments = [command, *([plan] if command == "run" else []), *ON_SANDBOX]
    if command == "resume":
        shell.run("run", plan, *ON_SANDBOX, "--deadline", "0s", exit_code=5)
    process = shell.start(*arguments)
    wait_for_posts(sandbox, 100, process)
    server.stop()
    server.start()
    settled = settled_pairs(shell)
    while settled_pairs(shell) == settled:  # once it has written again it has its lock again
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    assert f"process {process.pid}" in shell.run(*arguments, exit_code=75).stderr
    out, err = process.communicate(timeout=90)
    assert process.returncode == 0, out + err
    assert sandbox.posts <= len(sandbox.images) * len(PROJECTS)
    require_complete(shell, sandbox)


def settled_pairs(shell: Shell) -> int:
    """Count the pairs of the last run that are not pending."""
    ledger = SqlLedger.open(shell.env["BULKSHARE_LEDGER"])
    run = ledger.last_run()
    assert run is not None
    totals = ledger.totals(run.id)
    ledger.close()
    return sum(totals.values()) - totals[Result.PENDING]


def test_a_server_that_is_down(shell: Shell, sandbox: ServedSandbox, server: DatabaseServer) -> None:
    """The error names server and database, at once; nothing is sent."""
    server.stop()
    began = time.monotonic()
    refused = shell.run("run", shell.plan(sandbox.images, PROJECTS), *ON_SANDBOX, exit_code=4)
    server.start()
    assert time.monotonic() - began < 20
    url = make_url(shell.env["BULKSHARE_LEDGER"])
    assert f"127.0.0.1:{url.port}/{url.database}" in refused.stderr
    assert sandbox.posts == 0
    require_no_secret(refused)


def test_a_wrong_password(shell: Shell, sandbox: ServedSandbox) -> None:
    """The error names the user, and nothing shows the password."""
    url = make_url(shell.env["BULKSHARE_LEDGER"]).set(password="wr0ng/:@ word")
    shell.env["BULKSHARE_LEDGER"] = url.render_as_string(hide_password=False)
    plan = shell.plan(sandbox.images, PROJECTS)
    refused = shell.run("run", plan, *ON_SANDBOX, "--log-format", "json", "-v", exit_code=4)
    assert USER in refused.stderr
    assert "wr0ng" not in refused.stdout + refused.stderr
    assert sandbox.posts == 0


def test_a_password_on_the_command_line(shell: Shell, sandbox: ServedSandbox) -> None:
    """It is refused, and not shown; a password file works instead."""
    url = make_url(shell.env.pop("BULKSHARE_LEDGER"))
    plan = shell.plan(sandbox.images, PROJECTS[:2])
    refused = shell.run("run", plan, *ON_SANDBOX, "--ledger", url.render_as_string(hide_password=False), exit_code=2)
    assert "BULKSHARE_LEDGER" in refused.stderr
    require_no_secret(refused)
    bare = URL.create(url.drivername, USER, None, url.host, url.port, url.database)
    if url.drivername.startswith("postgresql"):
        escaped = PASSWORD.replace("\\", "\\\\").replace(":", "\\:")
        passwords = shell.write("pgpass", f"127.0.0.1:{url.port}:{url.database}:{USER}:{escaped}\n")
        passwords.chmod(0o600)
        shell.env["PGPASSFILE"] = str(passwords)
    else:
        options = shell.write("my.cnf", f'[client]\npassword="{PASSWORD}"\n')
        bare = bare.update_query_dict({"read_default_file": str(options)})
    done = shell.run("run", plan, *ON_SANDBOX, "--ledger", bare.render_as_string())
    require_no_secret(done)
    assert len(sandbox.rows()) == 20


def require_no_secret(done: subprocess.CompletedProcess[str]) -> None:
    """Require that no output has the password."""
    assert "s3cret" not in done.stdout + done.stderr
