"""Ledgers on database servers, without a server: error messages, and the retry of lost connections."""

from __future__ import annotations

import builtins
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from bulkshare.cli import main
from bulkshare.errors import LedgerError
from bulkshare.ledger import SqlLedger
from bulkshare.ledger import store as ledger_store
from bulkshare.ledger.sqlite import FileStore
from bulkshare.ledger.store import RETRY_SECONDS, ConnectionLostError, retry_lost
from bulkshare.ledger.url import parse_location
from bulkshare.model import Block, RunState
from tests.ledger_fixtures import NOW, begin, finish, outcome
from tests.realcloud.process import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bulkshare.ledger.store import Connection

KINDS = ("postgresql", "mysql", "mariadb")
SECRET = "s3cret"


class Clock:
    """Virtual time, in place of the module `time`."""

    now = 0.0

    def monotonic(self) -> float:
        """Return the time."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Advance the time."""
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Replace the time of retries by a virtual one."""
    clock = Clock()
    monkeypatch.setattr(ledger_store, "time", clock)
    return clock


class LosingStore(FileStore):
    """A file whose connection is lost right after the next commit if `losing` is set."""

    losing = False

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[Connection]:
        """See `Store`."""
        with super().writing(durable=durable) as connection:
            yield connection
        if self.losing:
            self.losing = False
            raise ConnectionLostError("the server closed the connection")


@pytest.mark.parametrize("package", ["driver", "sqlalchemy"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_package_that_is_not_installed(kind: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the extra to install."""
    extra, driver = ("postgresql", "psycopg") if kind == "postgresql" else ("mariadb", "pymysql")
    if package != "driver":
        driver = package
    found = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        absolute = rest[3:] in {(), (0,)}
        if absolute and name.partition(".")[0] == driver:
            raise ModuleNotFoundError(f"No module named {driver!r}", name=driver)
        return found(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(LedgerError, match=rf"{driver}: pip install '\.\[{extra}\]'"):
        SqlLedger.open(f"{kind}://alice@127.0.0.1/ledger")


@pytest.mark.parametrize("kind", KINDS)
def test_no_server_at_the_address(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is reported at once, with host and database and without the password."""
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("it waits"))
    port = free_port()
    with pytest.raises(LedgerError, match=f"alice@127.0.0.1:{port}/ledger") as caught:
        SqlLedger.open(f"{kind}://alice:{SECRET}@127.0.0.1:{port}/ledger")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("query", ["port=x", "connect_timeout=x", "ssl_ca=/nowhere", "read_timeout=soon", "sslmode=no"])
@pytest.mark.parametrize("kind", KINDS)
def test_options_that_the_driver_does_not_take(kind: str, query: str) -> None:
    """Whatever the driver raises becomes a `LedgerError` without the password."""
    with pytest.raises(LedgerError) as caught:
        SqlLedger.open(f"{kind}://alice:{SECRET}@127.0.0.1:{free_port()}/ledger?{query}")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("host", ["x" * 80, "no..host"])
@pytest.mark.parametrize("kind", KINDS)
def test_invalid_hosts(kind: str, host: str) -> None:
    """They are reported like any host that is not found."""
    with pytest.raises(LedgerError, match=host[:9]):
        SqlLedger.open(f"{kind}://alice@{host}/ledger")


@pytest.mark.parametrize("password", ["s3@cret", "s3/@cret", "s3?@cret", "s3:@cret@"])
def test_a_password_that_is_not_quoted(password: str) -> None:
    """No part of it after an "@" passes for the host, which messages show."""
    with pytest.raises(LedgerError, match="%40") as caught:
        parse_location(f"postgresql://alice:{password}@db.example/ledger")
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://alice:s3cret@h/d",
        "postgresql+psycopg://alice:s3/cret@h/d",
        "mysql://:s3cret@h/d",
        "mariadb://alice:s3?cret@h/d",
        "mysql://h/d?user=alice&password=s3cret",
        "mysql://alice@h/d?ssl_key=k&ssl_key_password=s3cret",
    ],
)
def test_a_password_on_the_command_line(url: str) -> None:
    """It is refused in every form, and the message does not repeat it."""
    done = CliRunner().invoke(main, ["runs", "--ledger", url])
    assert (done.exit_code, "BULKSHARE_LEDGER" in done.output) == (2, True)
    assert "cret" not in done.output


@pytest.mark.parametrize("url", ["sqlite:////no/where:at@all@.db", "/no/where:p@all.db"])
def test_what_looks_like_a_password(url: str) -> None:
    """A file name may contain any characters."""
    done = CliRunner().invoke(main, ["runs", "--ledger", url])
    assert "command line" not in done.output


def test_a_lost_connection_is_retried(clock: Clock) -> None:
    """The operation is repeated until it succeeds, and learns that it is repeated."""
    asked: list[bool] = []

    def ask(again: bool) -> str:  # noqa: FBT001  as `retry_lost` calls it
        asked.append(again)
        if len(asked) < 4:
            raise ConnectionLostError("away")
        return "there"

    assert retry_lost(ask) == "there"
    assert asked == [False, True, True, True]
    assert 0 < clock.now < RETRY_SECONDS


def test_retries_end_after_a_minute(clock: Clock) -> None:
    """Then the error is raised; an error other than a lost connection is raised at once."""

    def fail(error: LedgerError) -> Callable[[bool], None]:
        def ask(_: bool) -> None:  # noqa: FBT001  as `retry_lost` calls it
            raise error

        return ask

    with pytest.raises(LedgerError, match="full"):
        retry_lost(fail(LedgerError("the disk is full")))
    assert clock.now == 0
    with pytest.raises(ConnectionLostError, match="away"):
        retry_lost(fail(ConnectionLostError("away")))
    assert RETRY_SECONDS <= clock.now < RETRY_SECONDS + 2


@pytest.mark.usefixtures("clock")
def test_what_is_done_twice_counts_once(tmp_path: Path) -> None:
    """If the answer to a commit is lost, repeating it adds no second run, no pair, and nothing to the sums."""
    store = LosingStore(tmp_path / "ledger.db", create=True)
    ledger = SqlLedger(store)
    store.losing = True
    run = begin(ledger)
    assert not store.losing
    assert ledger.runs() == [run]
    for write in (
        lambda: ledger.enqueue(run.id, [Block("i1", ["p1", "p2"])]),
        lambda: ledger.settle(run.id, [outcome("i1", "p1"), outcome("i1", "p2")]),
    ):
        store.losing = True
        write()
    assert len(list(ledger.outcomes(run.id))) == 2
    store.losing = True
    ended = finish(ledger, run.id)
    assert (ended.state, ended.requests, ended.retries, ended.seconds) == (RunState.FINISHED, 5, 2, 1.5)
    store.losing = True
    ledger.reopen(run.id, now=NOW)
    assert finish(ledger, run.id).requests == 10
    ledger.close()
