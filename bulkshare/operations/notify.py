"""Tells a command and a webhook how a run ended. Whatever fails here is reported, and changes nothing else."""

from __future__ import annotations

import base64
import json
import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
from yarl import URL

from bulkshare.cloud.catalog import proxy_for
from bulkshare.cloud.http import HttpTransport
from bulkshare.errors import BulkshareError, UsageError
from bulkshare.model import Connection, Fault, Request
from bulkshare.report.notice import notice_document, webhook_body
from bulkshare.text import clean, counted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping

    from bulkshare.model import Notify, Reply, Webhook
    from bulkshare.report.notice import Notice

POSTS = 3  # attempts
FIRST_WAIT_SECONDS = 1.0  # before the second attempt; it doubles
POST_SECONDS = 10.0  # for one attempt
LONGEST_URL_FILE = 65536  # bytes
MOST_OUTPUT = 65536  # bytes of a command's output that are kept; the rest is read and dropped
MOST_LINES = 100
GRAPHIC = re.compile(r"[!-~]+")  # ASCII that a URL may consist of
SECRET_LENGTH = 6  # characters of a URL's part that is not shown
POLL_SECONDS = 0.05  # between looks at a command that prints nothing
# What a command may know of our cloud: where it is, and nothing that lets it in.
HARMLESS = frozenset({"OS_CLOUD", "OS_REGION_NAME", "OS_CLIENT_CONFIG_FILE", "OS_CLIENT_SECURE_FILE"})
SECRET = frozenset({"BULKSHARE_WEBHOOK", "PGPASSWORD", "MYSQL_PWD"})
WITH_PASSWORD = re.compile(r"://[^/]*:[^/]*@|passw|secret|ssl_?key", re.IGNORECASE)


class NotNotified(Exception):  # noqa: N818  a message for the log, not an error of the command
    """A command or a webhook could not be notified. `str()` says why, without secrets."""


class Target(NamedTuple):
    """A webhook's URL, in the parts that a request needs. It is a secret but for the host.

    origin: scheme, host and port.
    path: with the query.
    headers: the URL's user and password, if it has any.
    """

    origin: str
    path: str
    headers: Mapping[str, str]

    @classmethod
    def of(cls, text: str, what: str) -> Target:
        """Parse a URL. Raises `UsageError`, which names `what` it was and never shows it."""
        try:
            url = URL(text, encoded=True)
            usable = url.scheme in {"http", "https"} and bool(url.host) and GRAPHIC.fullmatch(text) is not None
            origin = str(url.origin()) if usable else ""
        except ValueError:
            usable = False
        if not usable:
            raise UsageError(f"{what} is not an http or https URL (it is a secret, so it is not shown)")
        headers = {}
        if url.user is not None:
            credentials = base64.b64encode(f"{url.user}:{url.password or ''}".encode()).decode()
            headers["Authorization"] = f"Basic {credentials}"
        return cls(origin, url.raw_path_qs, headers)

    def __repr__(self) -> str:
        """Leave out what must not be shown."""
        return f"Target({self.origin})"


def find_target(webhook: Webhook, environment: Mapping[str, str]) -> Target:
    """Return where a webhook's notices go. Raises `UsageError`."""
    if webhook.from_env is not None:
        if not environment.get(webhook.from_env):
            raise UsageError(f"notify: the environment variable {webhook.from_env} with the webhook's URL is not set")
        return Target.of(environment[webhook.from_env], f"the webhook in the environment variable {webhook.from_env}")
    if webhook.file is not None:
        path = Path(webhook.file)
        try:
            with path.open("rb") as file:
                text = file.read(LONGEST_URL_FILE).decode("utf-8")
        except (OSError, ValueError) as error:
            why = (isinstance(error, OSError) and error.strerror) or "it is not text"
            raise UsageError(f"can't read the webhook's URL from {clean(str(path))}: {why}") from None
        return Target.of(text.strip(), f"the webhook in {clean(str(path))}")
    return Target.of(webhook.url or "", "the webhook")


def require_program(command: tuple[str, ...]) -> None:
    """Raise `UsageError` if a command can't be found or may not be executed."""
    if shutil.which(command[0]) is None:
        raise UsageError(
            f"--on-finish, or notify in the plan: there is no program {clean(command[0])} that this user may run"
        )


class Notifier:
    """Tells those whom a `Notify` names.

    Everything that can be known to be wrong is found when it is made, before a run. Raises `UsageError` then.
    """

    def __init__(self, notify: Notify, environment: Mapping[str, str]) -> None:
        self._notify = notify
        self._environment = environment
        self._target = None if notify.webhook is None else find_target(notify.webhook, environment)
        if notify.command:
            require_program(notify.command)

    def notify(
        self,
        notice: Notice,
        *,
        note: Callable[[str], None],
        warn: Callable[[str], None],
        run_async: Callable[[Callable[[], Coroutine[Any, Any, None]]], None],
    ) -> None:
        """Say how a command ended, if that is one of the ends to notify of. Blocks for as long as the time-outs say.

        note: gets the lines that the command prints.
        warn: gets a message about each of the two that could not be told.
        run_async: runs a coroutine function on an event loop.
        """
        notify = self._notify
        if not notice.is_due(notify.on):
            return
        if notify.command:
            document = (json.dumps(notice_document(notice)) + "\n").encode()
            try:
                run_program(notify.command, document, self._harmless(), notify.timeout_seconds, note)
            except NotNotified as error:
                warn(str(error))
        if self._target is not None:
            target, body = self._target, json.dumps(webhook_body(notice, notify.format)).encode()

            async def send() -> None:
                try:
                    await post(target, body, timeout_seconds=notify.timeout_seconds)
                except NotNotified as error:
                    warn(str(error))

            run_async(send)

    def _harmless(self) -> dict[str, str]:
        """Return the environment without what logs in to clouds, ledgers and webhooks."""
        webhook = self._notify.webhook
        secret = SECRET if webhook is None else SECRET | {webhook.from_env}
        return {
            name: value
            for name, value in self._environment.items()
            if name not in secret
            and (name in HARMLESS or not name.startswith("OS_"))
            and not (name == "BULKSHARE_LEDGER" and WITH_PASSWORD.search(value))
        }


def run_program(
    command: tuple[str, ...],
    document: bytes,
    environment: Mapping[str, str],
    timeout_seconds: float,
    note: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Run a command with a document on its standard input, and pass on the lines that it prints.

    It is the leader of a process group, which is killed with it if it takes too long. What it leaves running in the
    background is not waited for. Raises `NotNotified` if it fails.
    """
    name = clean(command[0])
    with tempfile.TemporaryFile() as stdin:  # not a pipe: it need not be read
        stdin.write(document)
        stdin.seek(0)
        try:
            process = subprocess.Popen(  # noqa: S603  the user's own command; no shell reads it
                command,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise NotNotified(f"{name} can't be run: {getattr(error, 'strerror', None) or error}") from None
    assert process.stdout is not None  # noqa: S101  it is a pipe
    with process.stdout as pipe:
        try:
            output, ended = _watch(process, pipe.fileno(), timeout_seconds, clock)
        except BaseException:  # Ctrl-C is not its business, but it must not outlive us
            _kill(process)
            raise
    if not ended:
        _kill(process)
    lines = [clean(line) for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    for line in lines[:MOST_LINES]:
        note(f"{name}: {line}")
    if len(lines) > MOST_LINES:
        note(f"{name}: ... and {counted(len(lines) - MOST_LINES, 'more line')}")
    last = f": {lines[-1]}" if lines else ""
    if not ended:
        raise NotNotified(f"{name} was killed, because it still ran after {timeout_seconds:g} s{last}")
    if process.returncode < 0:
        raise NotNotified(f"{name} was killed by signal {-process.returncode}{last}")
    if process.returncode:
        raise NotNotified(f"{name} exited with {process.returncode}{last}")


def _watch(
    process: subprocess.Popen[bytes], descriptor: int, timeout_seconds: float, clock: Callable[[], float]
) -> tuple[bytes, bool]:
    """Read a process' output until it ends or the time is over; return the output, and whether it ended."""
    output = bytearray()
    deadline = clock() + timeout_seconds
    os.set_blocking(descriptor, False)
    is_open, ended = True, False
    while not ended and clock() < deadline:
        # Asked before the last read: what it wrote before it ended is in the pipe by then.
        ended = process.poll() is not None
        readable = is_open and select.select([descriptor], [], [], 0.0 if ended else POLL_SECONDS)[0]
        if not is_open and not ended:
            with suppress(subprocess.TimeoutExpired):
                process.wait(POLL_SECONDS)
        while readable:
            try:
                part = os.read(descriptor, MOST_OUTPUT)
            except BlockingIOError:
                break
            output += part[: MOST_OUTPUT - len(output)]
            is_open = bool(part)
            if not part or clock() >= deadline:
                break
    return bytes(output), ended


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


async def post(
    target: Target,
    body: bytes,
    *,
    timeout_seconds: float,
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
) -> None:
    """Post JSON to a webhook, again if that may help. Raises `NotNotified` unless it is accepted in time.

    TLS is verified, and redirects are not followed. Messages have the host only.
    """
    host = URL(target.origin).host or ""
    why = "no answer"
    with anyio.move_on_after(timeout_seconds):
        try:
            connection = Connection(target.origin, proxy=proxy_for(target.origin))
            seconds = min(POST_SECONDS, timeout_seconds)
            async with HttpTransport(connection, connections=1, total_seconds=seconds) as http:
                request = Request("POST", target.path, body, headers=target.headers)
                for attempt in range(POSTS):
                    reply = await http.send(request)
                    why, again = _read(reply, target)
                    if not why:
                        return
                    if not again or attempt == POSTS - 1:
                        break
                    await sleep(_wait_seconds(reply, attempt))
        except BulkshareError as error:  # its certificate does not verify, or the proxy can't be used
            why = str(error)
        raise NotNotified(f"the webhook at {host} was not notified: {why}")
    raise NotNotified(f"the webhook at {host} was not notified within {timeout_seconds:g} s: {why}")


def _read(reply: Reply, target: Target) -> tuple[str, bool]:
    """Return why an answer means that the notice was not accepted, and whether to send it again; "" if it was."""
    if isinstance(reply, Fault):
        return reply.detail, True
    if 200 <= reply.status < 300:
        return "", False
    said = reply.body[:1000].decode("utf-8", "replace")
    for part in {part for part in re.split(r"[/?&=]", target.path) if len(part) >= SECRET_LENGTH}:
        said = said.replace(part, "***")  # a service may quote the address that it was asked for
    said = clean(said, 100)
    redirect = ", a redirect, which is not followed" if 300 <= reply.status < 400 else ""
    why = f"it answered {reply.status}{redirect}" + (f": {said}" if said and not redirect else "")
    return why, reply.status in {408, 429} or reply.status >= 500


def _wait_seconds(reply: Reply, attempt: int) -> float:
    """Return how long to wait before the next attempt: as long as the service asks for, if it does."""
    asked = "" if isinstance(reply, Fault) else reply.headers.get("retry-after", "")
    return float(asked) if asked.isdecimal() and len(asked) < 6 else FIRST_WAIT_SECONDS * 2**attempt
