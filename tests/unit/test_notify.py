"""A command and a webhook hear how a run ended; whatever fails there is a message, and never shows a secret."""

from __future__ import annotations

import json
import os
import ssl
import sys
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme
from aiohttp import web

from bulkshare.errors import UsageError
from bulkshare.model import Notify, NotifyOn, Webhook
from bulkshare.operations.execute import run_async
from bulkshare.operations.notify import Notifier, NotNotified, Target, find_target, post, run_program
from tests.unit.test_http import http_server
from tests.unit.test_notice import BAD, GOOD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECRET = "/services/T0001/B0002/xYzSecret"
PYTHON = (sys.executable, "-c")


def told(*command: str, document: bytes = b"{}", timeout_seconds: float = 60.0) -> list[str]:
    """Run a command and return the lines that it printed."""
    lines: list[str] = []
    run_program(command, document, dict(os.environ), timeout_seconds, lines.append)
    return lines


def test_a_command_gets_the_document_and_no_shell_reads_its_words() -> None:
    """However long the document is, and whether or not the command reads it."""
    document = json.dumps({"causes": "x" * 1_000_000}).encode()
    script = "import sys; print(sys.argv[1:], len(sys.stdin.read()), file=sys.stderr)"
    name = Path(sys.executable)
    assert told(*PYTHON, script, "$(id)", "; ls", document=document) == [f"{name}: ['$(id)', '; ls'] {len(document)}"]
    assert told("true", document=document) == []


def test_what_a_command_prints_is_cleaned_and_bounded() -> None:
    """An endless output is read and dropped; control characters reach no terminal."""
    lines = told(*PYTHON, "print('\\x1b[2J' + 'a' * 10); print('b\\n' * 1_000_000)")
    assert lines[0].endswith(": [2J" + "a" * 10)
    assert len(lines) == 101
    assert "more lines" in lines[-1]


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ((*PYTHON, "print('no route to pager'); raise SystemExit(3)"), "exited with 3: no route to pager"),
        ((*PYTHON, "import os; os.kill(os.getpid(), 9)"), "was killed by signal 9"),
        (("/nowhere/tell",), "/nowhere/tell can't be run: No such file or directory"),
        (("/etc/passwd",), "can't be run: Permission denied"),
    ],
)
def test_a_command_that_fails_is_reported(command: tuple[str, ...], why: str) -> None:
    """With the last line that it printed."""
    with pytest.raises(NotNotified) as raised:
        told(*command)
    assert why in str(raised.value)


def test_a_command_that_takes_too_long_is_killed_with_all_it_started(tmp_path: Path) -> None:
    """Also if it ignores SIGTERM. The time is over as soon as its child is there; the pipe ends when that is gone."""
    fifo = tmp_path / "child"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    script = f"trap '' TERM; (echo ready > {fifo}; exec 3> {fifo}; echo up >&3; while :; do sleep 60; done) & wait"
    seen = bytearray()

    def clock() -> float:
        with suppress(BlockingIOError):
            seen.extend(os.read(reader, 100))
        return 1000.0 if b"up" in seen else 0.0

    with pytest.raises(NotNotified, match="was killed, because it still ran after 30 s"):
        run_program(("sh", "-c", script), b"", dict(os.environ), 30.0, lambda _: None, clock)
    os.set_blocking(reader, True)
    assert os.read(reader, 100) == b""  # no one is left who could write
    os.close(reader)


def test_what_a_command_leaves_in_the_background_is_not_waited_for(tmp_path: Path) -> None:
    """A hook may start something that lives on with its output."""
    fifo = tmp_path / "end"
    os.mkfifo(fifo)
    assert told("sh", "-c", f"read line < {fifo} & echo started") == ["sh: started"]
    fifo.write_text("over\n")


def test_an_interrupt_kills_the_command(tmp_path: Path) -> None:
    """It has a process group of its own, which Ctrl-C on the terminal does not reach."""
    pid: list[int] = []

    def clock() -> float:
        path = tmp_path / "pid"
        if path.exists() and path.read_text().endswith("\n"):
            pid.append(int(path.read_text()))
            raise KeyboardInterrupt
        return 0.0

    with pytest.raises(KeyboardInterrupt):
        run_program(
            ("sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 1000"), b"", {**os.environ}, 30.0, lambda _: None, clock
        )
    with pytest.raises(ProcessLookupError):
        os.kill(pid[0], 0)


def test_a_command_learns_no_secret() -> None:
    """Neither passwords of clouds, ledgers and databases nor the webhook; it learns which cloud it was."""
    environment = {
        "PATH": os.environ["PATH"],
        "OS_CLOUD": "prod",
        "OS_PASSWORD": "s1",
        "OS_APPLICATION_CREDENTIAL_SECRET": "s2",
        "OS_SOME_PLUGINS_OPTION": "s3",
        "BULKSHARE_WEBHOOK": "http://127.0.0.1/s4",
        "BULKSHARE_LEDGER": "postgresql://u:s5@db/l",
        "PGPASSWORD": "s6",
        "PAGER_URL": f"http://127.0.0.1:1{SECRET}",
    }
    lines: list[str] = []
    command = (*PYTHON, "import os; print(sorted(n for n in os.environ if n != 'LC_CTYPE'))")
    notifier = Notifier(Notify(command, Webhook(from_env="PAGER_URL"), on=frozenset({NotifyOn.ALWAYS})), environment)
    notifier.notify(GOOD, note=lines.append, warn=lambda _: None, run_async=lambda _: None)
    assert lines[0].endswith("['OS_CLOUD', 'PATH']")
    kept = {**environment, "BULKSHARE_LEDGER": "/var/lib/ledger.db"}
    Notifier(Notify(command), kept).notify(GOOD, note=lines.append, warn=lambda _: None, run_async=lambda _: None)
    assert "'BULKSHARE_LEDGER'" in lines[1]


class Service:
    """A webhook's service, which gives the answers in turn and keeps the requests."""

    def __init__(self, *answers: web.Response) -> None:
        self._answers: Iterator[web.Response] = iter(answers)
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.waits: list[float] = []

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """Keep a request and answer it."""
        self.requests.append((f"{request.method} {request.raw_path}", dict(request.headers), await request.read()))
        return next(self._answers)

    async def sleep(self, seconds: float) -> None:
        """Do not wait, but keep for how long it would have been."""
        self.waits.append(seconds)

    async def get(self, url: Callable[[int], str], tls: ssl.SSLContext | None = None) -> str:
        """Post to the service; return the message if it was not notified."""
        async with AsyncExitStack() as stack:
            port = await stack.enter_async_context(http_server(self.handle, tls))
            target = Target.of(url(port), "it")
            assert "Secret" not in repr(target)
            try:
                await post(target, b'{"a": 1}', timeout_seconds=30.0, sleep=self.sleep)
            except NotNotified as error:
                return str(error)
        return ""


def plain(port: int) -> str:
    """Return a URL with a secret in its path and its query."""
    return f"http://127.0.0.1:{port}{SECRET}?token=qUerySecret%2F1"


async def test_a_webhook_gets_json_once() -> None:
    """At the path of its URL, as it is written there."""
    service = Service(web.Response(text="ok"))
    assert await service.get(plain) == ""
    ((line, headers, body),) = service.requests
    assert line == f"POST {SECRET}?token=qUerySecret%2F1"
    assert headers["Content-Type"] == "application/json"
    assert body == b'{"a": 1}'


async def test_a_user_in_the_url_is_sent_as_a_header() -> None:
    """Alertmanager behind a proxy with a password, for example."""
    service = Service(web.Response(status=202))
    assert await service.get(lambda port: f"http://me:pa%20ss@127.0.0.1:{port}/api/v2/alerts") == ""
    assert service.requests[0][1]["Authorization"] == "Basic bWU6cGEgc3M="


async def test_it_is_tried_again_if_that_may_help() -> None:
    """After 5xx, 429 with the wait that it asks for, and no more than three times."""
    service = Service(web.Response(status=503), web.Response(status=429, headers={"Retry-After": "7"}), web.Response())
    assert await service.get(plain) == ""
    assert service.waits == [1.0, 7.0]
    service = Service(*(web.Response(status=500) for _ in range(4)))
    assert await service.get(plain) == "the webhook at 127.0.0.1 was not notified: it answered 500"
    assert len(service.requests) == 3


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda: web.Response(status=404, text=f"no_service {SECRET}"), "answered 404: no_service /***/"),
        (lambda: web.Response(status=302, headers={"Location": SECRET}), "answered 302, a redirect, which is not foll"),
        (lambda: web.Response(status=400, text="\x1b[2Jinvalid\npayload"), "answered 400: [2Jinvalid payload"),
    ],
)
async def test_a_refusal_is_final_and_shows_no_secret(answer: Callable[[], web.Response], why: str) -> None:
    """A redirect could lead the notice anywhere."""
    service = Service(answer(), web.Response())
    message = await service.get(plain)
    assert why in message
    assert "Secret" not in message
    assert len(service.requests) == 1


async def test_an_unknown_certificate_is_refused() -> None:
    """TLS is verified, whatever clouds.yaml says about the clouds."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)
    service = Service(web.Response())
    message = await service.get(lambda port: f"https://127.0.0.1:{port}{SECRET}", tls)
    assert "does not verify" in message
    assert "Secret" not in message
    assert not service.requests


async def test_it_gives_up_when_the_time_is_over() -> None:
    """Also while it waits to try again."""
    service = Service()
    service.sleep = None  # type: ignore[assignment, method-assign]  # not reached: the time is over before it begins
    target = Target.of("http://127.0.0.1:1/x", "it")
    with pytest.raises(NotNotified, match=r"was not notified within 0 s: no answer"):
        await post(target, b"{}", timeout_seconds=0.0)


@pytest.mark.parametrize(
    "text",
    ["", "hooks.slack.com/Secret", "ftp://h/Secret", "http:///Secret", "http://h:x/Secret", "http://h/Sec\x00ret"],
)
def test_a_url_that_is_none_is_refused_without_showing_it(text: str) -> None:
    """It might be the secret with a typing error."""
    with pytest.raises(UsageError) as raised:
        find_target(Webhook(url=text), {})
    assert "Sec" not in str(raised.value)
    with pytest.raises(UsageError, match="environment variable URL"):
        find_target(Webhook(from_env="URL"), {"URL": text})


def test_a_url_may_stand_in_a_file(tmp_path: Path) -> None:
    """The file's name is no secret, its contents are."""
    path = tmp_path / "webhook"
    path.write_text(f"https://hooks.example{SECRET}\n")
    assert find_target(Webhook(file=str(path)), {}).path == SECRET
    for contents in (b"\xff\xfe", b"Secret"):
        path.write_bytes(contents)
        with pytest.raises(UsageError, match=str(path)):
            find_target(Webhook(file=str(path)), {})
    with pytest.raises(UsageError, match="No such file"):
        find_target(Webhook(file=str(tmp_path / "none")), {})


def test_who_can_not_be_told_is_found_before_the_run() -> None:
    """A command that is not there, a variable that is not set."""
    with pytest.raises(UsageError, match="there is no program bulkshare-no-such"):
        Notifier(Notify(("bulkshare-no-such",)), {})
    with pytest.raises(UsageError, match="variable PAGER_URL with the webhook's URL is not set"):
        Notifier(Notify(webhook=Webhook(from_env="PAGER_URL")), {})


def test_one_that_fails_does_not_keep_the_other_from_being_told() -> None:
    """And there is a message about each."""
    warnings: list[str] = []
    notify = Notify(
        ("false",), Webhook(url="http://127.0.0.1:1/x"), on=frozenset({NotifyOn.FAILURE}), timeout_seconds=0.5
    )
    notifier = Notifier(notify, {})
    notifier.notify(GOOD, note=warnings.append, warn=warnings.append, run_async=run_async)
    assert not warnings  # not an end to notify of
    notifier.notify(BAD, note=warnings.append, warn=warnings.append, run_async=run_async)
    assert [warning[:21] for warning in warnings] == ["false exited with 1", "the webhook at 127.0."]
