"""A command and a webhook hear how each run ended: on the sandbox in the process, and once on a real cloud."""

from __future__ import annotations

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from bulkshare.cli import main
from bulkshare.operations import notify

if TYPE_CHECKING:
    from collections.abc import Iterator

    from click.testing import Result

    from tests.e2e.conftest import Operator

PLAN = "version: 1\nname: golden\ncheck_projects: never\n{}share:\n  - {{images: [i], projects: [p, q]}}\n"


class Told:
    """A folder with a plan and a command that keeps what it is sent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plan = folder / "golden.yaml"
        self.plan.write_text(PLAN.format(""))
        self.notice = folder / "notice.json"
        self.command = f"{sys.executable} {folder / 'tell.py'} {self.notice}"
        (folder / "tell.py").write_text(
            "import sys\nopen(sys.argv[1], 'a').write(sys.stdin.read())\nprint('paged the night shift')\n"
        )

    def run(self, *args: str, exit_code: int = 0, tell: bool = True) -> Result:
        """Run a plan on a sandbox of its own."""
        told = ["--on-finish", self.command] if tell else []
        done = CliRunner().invoke(main, ["run", str(self.plan), *args, *told])
        assert done.exit_code == exit_code, done.output
        return done

    def take(self) -> dict[str, Any]:
        """Return what the command was told the last time; it must have been once."""
        (line,) = self.notice.read_text().splitlines()
        self.notice.unlink()
        notice: dict[str, Any] = json.loads(line)
        assert notice["version"] == 1
        assert notice["plan"] == "golden"
        return notice


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Told:
    """Return a folder to work in, with a ledger of its own."""
    monkeypatch.setenv("BULKSHARE_LEDGER", str(tmp_path / "ledger.db"))
    monkeypatch.setattr(notify, "FIRST_WAIT_SECONDS", 0.0)
    return Told(tmp_path)


def test_the_command_is_told_what_json_prints(told: Told) -> None:
    """And its output is logged; a dry run notifies no one."""
    told.run("--sandbox", "--dry-run", exit_code=10)
    assert not told.notice.exists()
    done = told.run("--sandbox", "--json")
    notice = told.take()
    assert "paged the night shift" in done.stderr
    printed = json.loads(done.stdout)
    assert printed["shared"] == 2
    assert {key: notice[key] for key in printed} == printed
    assert (notice["exit_code"], notice["error"], notice["runs"]) == (0, None, [printed["run"]])


def test_early_ends_are_told_with_their_reason(told: Told) -> None:
    """A limit is reached; the cloud, the plan and its lock keep the run from starting."""
    told.run("--sandbox", "--fault", "POST members 400 100%", "--max-failures", "0", exit_code=5)
    notice = told.take()
    assert notice["exit_code"] == 5
    assert "continue with" in notice["error"] or "sandbox ended" in notice["error"]
    assert notice["rejected"] + notice["pending"] == 2
    told.run("--os-cloud", "nowhere", exit_code=2)
    notice = told.take()
    assert "nowhere" in notice["error"]
    assert (notice["exit_code"], notice["runs"], "shared" in notice) == (2, [], False)
    told.plan.write_text(PLAN.format("limits: {rate: none}\n"))
    told.run("--sandbox", exit_code=2)
    assert f"{told.plan}:4:16: expected a number" in told.take()["error"]


def test_an_undo_that_finds_no_run_is_told(told: Told) -> None:
    """It ends before it has a plan to run."""
    told.run("--sandbox")
    told.take()
    args = ["undo", "golden", "--yes", "--on-finish", told.command]
    assert CliRunner().invoke(main, args).exit_code == 2
    (line,) = told.notice.read_text().splitlines()
    notice = json.loads(line)
    assert (notice["plan"], notice["exit_code"]) == ("undo", 2)
    assert "was on a sandbox" in notice["error"]


def test_an_interrupt_and_a_bug_are_told(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ends it, someone hears of it; of a bug only its kind, since its text may be anything."""
    for error, exit_code, text in (
        (KeyboardInterrupt(), 130, "interrupted"),
        (RuntimeError("gAAAA-secret"), 1, "unexpected error: RuntimeError"),
    ):

        def fail(*_: Any, error: BaseException = error, **__: Any) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr("bulkshare.cli.run.run_plan", fail)
            CliRunner().invoke(main, ["run", str(told.plan), "--sandbox", "--on-finish", told.command])
        notice = told.take()
        assert (notice["exit_code"], notice["error"]) == (exit_code, text)


def test_the_plan_says_who_is_told_and_when(told: Told) -> None:
    """Relative to the plan; an option takes the place of the plan's key. What fails is said even with -q."""
    command = json.dumps(told.command.split(" "))
    told.plan.write_text(PLAN.format(f"notify: {{command: {command}, on: failure}}\n"))
    told.run("--sandbox", tell=False)
    assert not told.notice.exists()
    told.run("--sandbox", "--notify-on", "change", tell=False)
    assert told.take()["shared"] == 2
    told.run("--sandbox", "--fault", "POST members 400 100%", exit_code=1, tell=False)
    assert told.take()["rejected"] == 2
    done = told.run("--sandbox", "-q", "--on-finish", "false", "--notify-on", "always", tell=False)
    assert "false exited with 1" in done.stderr
    assert not told.notice.exists()
    told.plan.write_text(PLAN.format("notify: {command: [./pager]}\n"))
    assert f"no program {told.folder}/pager" in told.run("--sandbox", exit_code=2, tell=False).stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--webhook-format", "slack"], "there is no webhook"),
        (["--notify-on", "change"], "there is no one to notify"),
        (["--on-finish", "tell 'x"], "no closing quotation in the command\n"),
        (["--on-finish", " "], "names no program"),
        (["--webhook", "@/nowhere/webhook"], "/nowhere/webhook: No such file"),
    ],
)
def test_options_that_tell_no_one_are_refused(told: Told, options: list[str], message: str) -> None:
    """Before anything is sent."""
    assert message in told.run("--sandbox", *options, exit_code=2, tell=False).stderr
    assert not Path(told.folder / "ledger.db").exists()


class Hooks(ThreadingHTTPServer):
    """A webhook that keeps what is posted to it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Hook)
        self.posted: list[tuple[str, Any]] = []


class _Hook(BaseHTTPRequestHandler):
    server: Hooks

    def do_POST(self) -> None:
        """Keep it; refuse a path without the secret."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posted.append((self.path, json.loads(body)))
        self.send_response(200 if self.path == "/T0/sEcReT" else 500)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Be silent."""


@pytest.fixture
def hooks() -> Iterator[Hooks]:
    """Serve a webhook."""
    with Hooks() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))  # seconds until it sees its end
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_webhook_is_told_and_its_url_stays_secret(told: Told, hooks: Hooks, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the environment, and from a file that the plan names; a failure is logged once and changes nothing."""
    url = f"http://127.0.0.1:{hooks.server_port}/T0/sEcReT"
    monkeypatch.setenv("BULKSHARE_WEBHOOK", url)
    outputs = [told.run("--sandbox", "-v", "--webhook-format", "slack")]
    assert told.take()["shared"] == 2
    assert hooks.posted[0][0] == "/T0/sEcReT"
    assert hooks.posted[0][1]["text"].startswith(":white_check_mark: golden: every pair is as planned: 2 shared")
    monkeypatch.delenv("BULKSHARE_WEBHOOK")
    (told.folder / "hook.url").write_text(url + "x\n")
    told.plan.write_text(PLAN.format("notify: {webhook: {file: hook.url, format: alertmanager}}\n"))
    outputs.append(told.run("--sandbox", "-v", tell=False))
    assert [path for path, _ in hooks.posted[1:]] == ["/T0/sEcReTx"] * 3
    assert hooks.posted[1][1][0]["labels"]["plan"] == "golden"
    failed = "the webhook at 127.0.0.1 was not notified: it answered 500"
    assert outputs[1].stderr.count(failed) == 1
    seen = [done.output.encode() for done in outputs] + [path.read_bytes() for path in told.folder.glob("ledger.db*")]
    assert not [text for text in seen if b"sEcReT" in text]


def test_a_command_is_told_what_was_done_on_a_cloud(operator: Operator) -> None:
    """Of a run, the real cloud's as well as the sandbox's; a dry run notifies no one."""
    _, shell, _, (one, two) = operator
    image_id = operator.create_image("told")
    telling = ("--to", one, "--to", two, "--on-finish", "tee -a told.json")
    shell.run("share", image_id, *telling, "--dry-run", exit_code=10)
    done = shell.run("share", image_id, *telling)
    (line,) = (shell.directory / "told.json").read_text("utf-8").splitlines()
    notice = json.loads(line)
    assert (notice["shared"], notice["exit_code"], notice["plan"]) == (2, 0, "adhoc")
    assert "tee: {" in done.stderr
