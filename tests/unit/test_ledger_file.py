"""The ledger's file: what can be wrong with it, its permissions, and its location."""

from __future__ import annotations

import os
import sqlite3
import stat
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bulkshare.errors import LedgerError
from bulkshare.ledger import RunLock, SqlLedger
from bulkshare.model import Block, Result
from tests.ledger_fixtures import begin, finish, outcome, path_of, store_of, watch_statements

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534
with_proc = pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a file system that takes no files")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return the path of a ledger that does not exist yet."""
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(place: Path) -> Iterator[SqlLedger]:
    """Return a new ledger."""
    opened = SqlLedger.open(str(place))
    yield opened
    opened.close()


def fails(where: Path | str, *, create: bool = True) -> str:
    """Return the error message for a ledger that can't be opened."""
    with pytest.raises(LedgerError) as caught:
        SqlLedger.open(str(where), create=create)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def limit(ledger: SqlLedger, statement: str) -> None:
    """Execute a statement on the connection that the ledger uses, which it keeps."""
    (raw,) = store_of(ledger)._idle
    raw.execute(statement)


# --- opening ---------------------------------------------------------------------------------------------------------


def test_a_directory_is_no_ledger(tmp_path: Path) -> None:
    """The message names the directory and says what to do."""
    message = fails(tmp_path)
    assert str(tmp_path) in message
    assert "directory" in message
    assert "--ledger" in message


def test_missing_directories_are_made_for_their_owner(tmp_path: Path) -> None:
    """The first run creates the state directory, accessible to its owner alone."""
    place = tmp_path / "state" / "bulkshare" / "ledger.db"
    previous = os.umask(0)
    try:
        SqlLedger.open(str(place)).close()
    finally:
        os.umask(previous)
    assert [stat.S_IMODE(directory.stat().st_mode) for directory in (place.parent, place.parent.parent)] == [0o700] * 2


def test_a_file_in_a_directorys_place(tmp_path: Path) -> None:
    """A path that goes through a file can't be made."""
    (tmp_path / "file").write_text("")
    place = tmp_path / "file" / "ledger.db"
    message = fails(place)
    assert str(place) in message
    assert "--ledger" in message


def test_a_directory_in_a_files_place(tmp_path: Path) -> None:
    """The message names the directory that can't be created, with the reason."""
    (tmp_path / "file").write_text("")
    assert f"no directory {tmp_path}/file/state for the ledger" in fails(tmp_path / "file" / "state" / "ledger.db")


@with_proc
@pytest.mark.parametrize("name", ["no-such-directory/ledger.db", "no/such/directory/ledger.db"])
def test_a_file_system_that_takes_no_directories(name: str) -> None:
    """The message names the directory that can't be created and says what to do."""
    missing = Path("/proc", name.split("/", 1)[0])
    message = fails(Path("/proc", name))
    assert message.startswith(f"no directory {missing} for the ledger /proc/{name}: it can't be made there; ")
    assert "--ledger" in message


@with_proc
@pytest.mark.parametrize("name", ["/proc/ledger.db", "dangling"])
def test_a_file_that_cannot_be_made(tmp_path: Path, name: str) -> None:
    """The message doesn't say that the first run makes it: this is the first run."""
    (tmp_path / "dangling").symlink_to("/proc/ledger.db")
    place = tmp_path / name
    assert fails(place).startswith(f"can't make the ledger {place}: No such file or directory; name another")


def test_only_a_regular_file_is_opened(tmp_path: Path) -> None:
    """A device or a pipe is not written to."""
    os.mkfifo(tmp_path / "pipe")
    for place in (Path(os.devnull), tmp_path / "pipe"):
        assert f"can't open the ledger {place}: it is not a regular file; " in fails(place)


@pytest.mark.parametrize("name", ["ledger.db", "no/such/ledger.db"])
def test_no_ledger_is_created_without_create(tmp_path: Path, name: str) -> None:
    """With create=False a missing file is an error, and stays missing."""
    message = fails(tmp_path / name, create=False)
    assert str(tmp_path / name) in message
    assert "the first run makes it" in message
    assert list(tmp_path.iterdir()) == []


def test_an_existing_ledger_is_opened_without_making(place: Path) -> None:
    """With create=False an existing ledger is used."""
    first = SqlLedger.open(str(place))
    run = begin(first)
    first.close()
    second = SqlLedger.open(str(place), create=False)
    assert [found.key for found in second.runs()] == [run.key]
    second.close()


def test_a_file_that_is_no_database(place: Path) -> None:
    """Another program's file is named in the message and left unchanged."""
    place.write_bytes(b"no database " * 1000)
    message = fails(place)
    assert str(place) in message
    assert "it is not a ledger" in message
    assert "--ledger" in message
    assert place.read_bytes() == b"no database " * 1000


def test_a_database_of_another_program(place: Path) -> None:
    """No tables are added to another program's database."""
    with closing(sqlite3.connect(place)) as raw:
        raw.execute("CREATE TABLE names (x)")
    before = place.read_bytes()
    message = fails(place)
    assert str(place) in message
    assert "another program" in message
    assert place.read_bytes() == before


def test_a_ledger_from_the_future(place: Path) -> None:
    """A version that this bulkshare does not know is refused, and untouched."""
    SqlLedger.open(str(place)).close()
    with closing(sqlite3.connect(place)) as raw:
        raw.execute("INSERT INTO bulkshare_version VALUES (99)")
        raw.commit()
    before = place.read_bytes()
    message = fails(place)
    assert str(place) in message
    assert "version 99" in message
    assert "update bulkshare" in message
    assert place.read_bytes() == before


def test_a_damaged_ledger(place: Path) -> None:
    """Overwritten pages are reported when they are read, with what to do."""
    ledger = SqlLedger.open(str(place))
    run = begin(ledger)
    ledger.enqueue(run.id, [Block(f"i{n}", [f"p{m}" for m in range(100)]) for n in range(100)])
    ledger.close()
    size = place.stat().st_size
    with place.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * (size - 8192))
    again = SqlLedger.open(str(place))
    with pytest.raises(LedgerError, match="it is corrupt; restore a copy") as caught:
        list(again.outcomes(run.id))
    assert str(place) in str(caught.value)
    again.close()


# --- writing ---------------------------------------------------------------------------------------------------------


def test_a_ledger_that_may_only_be_read(ledger: SqlLedger, place: Path) -> None:
    """A read-only ledger can be read; a write says which permission is missing."""
    begin(ledger)
    limit(ledger, "PRAGMA query_only=ON")
    with pytest.raises(LedgerError, match="write permission for it") as caught:
        begin(ledger)
    assert str(place) in str(caught.value)
    assert len(ledger.runs()) == 1


@pytest.fixture
def foreign() -> Iterator[Path]:
    """Become an unprivileged user, and return a directory of another user that everyone may read."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        SqlLedger.open(str(directory / "ledger.db")).close()
        (directory / "ledger.db").chmod(0o444)
        directory.chmod(0o555)
        me = os.geteuid()
        if me == 0:
            os.seteuid(NOBODY)  # root could write whatever the modes say
        try:
            yield directory
        finally:
            os.seteuid(me)
            directory.chmod(0o700)


def test_a_ledger_of_another_user(foreign: Path) -> None:
    """The message names the file that can't be written and says what to do."""
    message = fails(foreign / "ledger.db")
    assert str(foreign / "ledger.db") in message
    assert "Permission denied" in message
    assert "--ledger" in message


def test_a_directory_of_another_user(foreign: Path) -> None:
    """So it does for a new file in a directory that can't be written."""
    message = fails(foreign / "new.db")
    assert str(foreign / "new.db") in message
    assert "Permission denied" in message


def test_a_lock_in_a_directory_of_another_user(ledger: SqlLedger, foreign: Path) -> None:
    """A lock file that can't be made is a LedgerError that names it."""
    store_of(ledger).path = foreign / "ledger.db"
    with pytest.raises(LedgerError, match=r"can't lock .*ledger\.db\.nightly\.lock: Permission denied"):
        RunLock(ledger, "nightly").__enter__()


def test_a_full_disk(ledger: SqlLedger, place: Path) -> None:
    """No write is partial, the message says what to do, and writes work again once there is space."""
    run = begin(ledger)
    ledger.enqueue(run.id, [Block("i1", ["p1", "p2"])])
    limit(ledger, f"PRAGMA max_page_count={place.stat().st_size // 4096}")
    long = [outcome("i1", "p1", reason=f"{number} " + "long " * 100) for number in range(100)]
    with pytest.raises(LedgerError, match="free some disk space") as caught:
        ledger.settle(run.id, [*long, outcome("i1", "p2")])
    assert str(place) in str(caught.value)
    assert ledger.totals(run.id)[Result.PENDING] == 2
    limit(ledger, "PRAGMA max_page_count=1000000")
    ledger.settle(run.id, [*long, outcome("i1", "p2")])
    assert {row.reason for row in ledger.outcomes(run.id)} == {long[-1].reason, "as asked"}


def test_an_interrupted_write_leaves_nothing_behind(ledger: SqlLedger) -> None:
    """Ctrl-C in a transaction rolls it back; neither this handle nor another one has to wait."""
    run = begin(ledger)
    ledger.enqueue(run.id, [Block("i1", ["p1", "p2"])])

    def interrupt(statement: str) -> None:
        if statement.startswith("UPDATE pairs"):
            raise KeyboardInterrupt

    watch_statements(ledger, after=interrupt)
    with pytest.raises(KeyboardInterrupt) as caught:
        ledger.settle(run.id, [outcome("i1", "p1", reason="never kept"), outcome("i1", "p2")])
    watch_statements(ledger)
    assert {row.result for row in ledger.outcomes(run.id)} == {Result.PENDING}
    ledger.settle(run.id, [outcome("i1", "p1", reason="kept"), outcome("i1", "p2", reason="never kept")])
    assert [row.reason for row in ledger.outcomes(run.id)] == ["kept", "never kept"]
    assert finish(ledger, run.id).totals[Result.SHARED] == 2
    assert caught.tb is not None  # a live traceback, with the cursor in it, holds no lock


# --- the location ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "oracle://alice:s3cret@db.example/ledger",
        "postgresql+asyncpg://alice:s3cret@db.example/ledger",
        "mysql+pymysql://alice:s3cret@db.example",
        "postgresql://alice:s3cret@db.example:port/ledger",
        "nonsense://alice:s3cret@/x",
        "sqlite://alice:s3cret@host/x.db",
        "sqlite:///x.db?password=s3cret",
        "://alice:s3cret@x",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///%3Amemory%3A",
        "sqlite:///a%00b.db",
    ],
)
def test_urls_that_are_not_supported(url: str) -> None:
    """The message lists the supported forms and shows no password."""
    message = fails(url)
    assert "give a path, sqlite:////absolute/path, postgresql://user@host/database or mysql://" in message
    assert "s3cret" not in message


def test_an_sqlite_url_is_a_path(tmp_path: Path) -> None:
    """A ledger may be named by the URL of its file."""
    ledger = SqlLedger.open(f"sqlite:///{tmp_path}/ledger.db")
    assert path_of(ledger) == tmp_path / "ledger.db"
    assert path_of(ledger).exists()
    ledger.close()


def test_what_a_url_has_to_quote_is_unquoted(tmp_path: Path) -> None:
    """As in every URL: `%20` is a space, and `%3F` a question mark, which would begin options."""
    ledger = SqlLedger.open(f"sqlite:///{tmp_path}/my%20ledger%3F%25.db")
    assert path_of(ledger) == tmp_path / "my ledger?%.db"
    ledger.close()


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_files_are_their_owners_alone(place: Path, umask: int) -> None:
    """The file, SQLite's two beside it and the lock are 0600, however permissive the umask."""
    previous = os.umask(umask)
    try:
        ledger = SqlLedger.open(str(place))
        with RunLock(ledger, "nightly"):
            begin(ledger)
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in place.parent.iterdir()}
        ledger.close()
    finally:
        os.umask(previous)
    names = ["ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.db.nightly.lock"]
    assert modes == dict.fromkeys(names, 0o600)
