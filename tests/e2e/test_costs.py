"""What can be counted of a command without a clock: what it makes, and the statements that its ledger executes."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from click.testing import CliRunner

from bulkshare.cli import main
from bulkshare.ledger import SqlLedger
from bulkshare.ledger.sqlite import FileStore
from bulkshare.model import Alike, Block, Result
from tests.ledger_fixtures import NOW, begin, finish, outcome
from tests.sandbox_cloud import SandboxCloud

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path

# The trace has the values in the statements; a row of `executemany` is a statement.
STATEMENT = re.compile(r"(SELECT|INSERT|UPDATE|DELETE)\b.*?\b(?:FROM|INTO|UPDATE) (\w+)|UPDATE (\w+)", re.DOTALL)
MEMBERS = [f"p{number:03}" for number in range(512)]


@dataclass
class Cost:
    """What was made, by kind, and the statements by verb and table: "SELECT pairs"; transactions by how they begin."""

    made: Counter[str] = field(default_factory=Counter)
    statements: Counter[str] = field(default_factory=Counter)

    def note(self, statement: str) -> None:
        """Count a statement, unless it ends a transaction or is about the database itself."""
        if statement.startswith("BEGIN"):
            self.statements[statement] += 1
        elif found := STATEMENT.match(statement):
            verb, table, updated = found.groups()
            if " FROM pairs " in statement:
                table = "pairs"  # the largest
            self.statements[f"UPDATE {updated}" if updated else f"{verb} {table}"] += 1

    def of(self, *tables: str) -> dict[str, int]:
        """Return how often each statement on these tables was executed."""
        return {name: count for name, count in sorted(self.statements.items()) if name.split()[-1] in tables}


@contextmanager
def counting() -> Iterator[Cost]:
    """Count in this process for as long as the context lasts."""
    cost = Cost()
    connect = FileStore._connect

    def traced(store: FileStore) -> sqlite3.Connection:
        raw = connect(store)
        cost.made["ledger connections"] += 1
        raw.set_trace_callback(cost.note)
        return raw

    def count(patch: pytest.MonkeyPatch, owner: type, kind: str, method: str = "__init__") -> None:
        original = getattr(owner, method)

        def counted(*args: Any, **kwargs: Any) -> Any:
            cost.made[kind] += 1
            return original(*args, **kwargs)

        patch.setattr(owner, method, counted)

    with pytest.MonkeyPatch.context() as patch:
        count(patch, ssl.SSLContext, "TLS contexts", "__new__")
        count(patch, aiohttp.ClientSession, "HTTP sessions")
        count(patch, aiohttp.TCPConnector, "connectors")
        count(patch, asyncio.Runner, "event loops")
        patch.setattr(FileStore, "_connect", traced)
        yield cost


@contextmanager
def counting_of(ledger: SqlLedger) -> Iterator[Cost]:
    """Count what an open ledger executes."""
    store = ledger._store
    assert isinstance(store, FileStore)
    cost = Cost()
    [raw] = store._idle
    raw.set_trace_callback(cost.note)
    yield cost
    raw.set_trace_callback(None)


# --- the ledger ------------------------------------------------------------------------------------------------------


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqlLedger]:
    """Return a ledger that has opened one connection."""
    ledger = SqlLedger.open(f"{tmp_path}/ledger.db")
    yield ledger
    ledger.close()


def test_a_run_begins_with_a_few_statements(ledger: SqlLedger) -> None:
    """However many runs there are."""
    for _ in range(3):
        finish(ledger, begin(ledger).id)
    with counting_of(ledger) as cost:
        begin(ledger, now=NOW.replace(year=NOW.year + 1))
    assert cost.statements["BEGIN IMMEDIATE"] == 1
    assert sum(cost.statements.values()) <= 7, cost.statements


def test_enqueueing_takes_a_statement_a_pair(ledger: SqlLedger) -> None:
    """And one for each new text; those that are known are looked up 500 at a time, and only once."""
    run = begin(ledger)
    with counting_of(ledger) as cost:
        ledger.enqueue(run.id, [Block("i1", MEMBERS), Block("i2", MEMBERS)])
    assert cost.of("pairs", "names") == {"INSERT names": 514, "INSERT pairs": 1024, "SELECT names": 4}
    with counting_of(ledger) as cost:
        ledger.enqueue(
            run.id,
            [
                Block(
                    "i1",
                    ["p000"],
                ),
                Block("i2", MEMBERS[:3]),
            ],
        )
    assert cost.of("names") == {}


def test_a_page_is_read_with_one_statement(tmp_path: Path, ledger: SqlLedger) -> None:
    """And one more for each 500 texts that this process has not seen."""
    run = begin(ledger)
    ledger.enqueue(run.id, [Block(f"i{number}", MEMBERS) for number in range(4)])
    fresh = SqlLedger.open(f"{tmp_path}/ledger.db")
    for texts in (2, 0):
        with counting_of(fresh) as cost:
            assert len(fresh.pending_jobs(run.id, "i1", after=None, limit=600)) == len(MEMBERS)
        looked_up = {"SELECT names": texts + 1}  # the image's number
        assert cost.of("pairs", "names") == {"SELECT pairs": 1, **looked_up}
    for read in (
        lambda: fresh.image_pairs(run.id, "i1"),
        lambda: fresh.pending_images(run.id, after="i1", limit=1000),
        lambda: fresh.images_to_list(run.id, settled_before=NOW, after="i1", limit=1000),
        lambda: fresh.pending_jobs_between(run.id, "i1", "i3"),
    ):
        read()
        with counting_of(fresh) as cost:
            assert read()
        assert cost.of("pairs") == {"SELECT pairs": 1}
        assert cost.statements["BEGIN"] == 1
    fresh.close()


def test_outcomes_are_one_transaction(ledger: SqlLedger) -> None:
    """A statement for each pair that was sent, and one for 500 pairs that a listing has shown to be alike."""
    run = begin(ledger)
    ledger.enqueue(run.id, [Block("i1", MEMBERS), Block("i2", MEMBERS)])
    sent = [outcome("i1", member) for member in MEMBERS]
    ledger.settle(run.id, sent[:1])  # with new texts
    with counting_of(ledger) as cost:
        ledger.settle(run.id, sent)
    assert cost.statements == {"BEGIN IMMEDIATE": 1, "UPDATE pairs": 512}
    with counting_of(ledger) as cost:
        ledger.settle_alike(run.id, [Alike(outcome("i2", "p000", Result.ALREADY), MEMBERS)])
    assert cost.statements == {"BEGIN IMMEDIATE": 1, "UPDATE pairs": 2}


# --- commands --------------------------------------------------------------------------------------------------------


class Night:
    """A plan of some images for 40 projects on a cloud, and commands about it, run in this process."""

    def __init__(self, directory: Path, cloud: SandboxCloud, images: int) -> None:
        self.images = [cloud.create_image(f"golden-{number}") for number in range(images)]
        self.projects = cloud.create_projects(40, "tenant")
        plan = {
            "version": 1,
            "name": "night",
            "limits": {"rate": 100_000},
            "share": [{"images": self.images, "projects": self.projects}],
        }
        self.path = directory / "night.yaml"
        self.path.write_text(json.dumps(plan), "utf-8")
        self.env = {
            "OS_CLIENT_CONFIG_FILE": str(cloud.write_clouds_yaml(directory / "clouds.yaml")),
            "OS_CLOUD": "alice",
            "BULKSHARE_LEDGER": str(directory / "ledger.db"),
        }

    def cost(self, *command: str) -> Cost:
        """Run a command and return what was counted."""
        with counting() as cost:
            done = CliRunner(env=self.env).invoke(main, command)
        assert done.exit_code == 0, done.output
        return cost


@pytest.fixture(scope="module")
def cloud() -> Iterator[SandboxCloud]:
    """Serve a sandbox."""
    with SandboxCloud() as cloud:
        yield cloud


def test_a_command_makes_one_of_each(tmp_path: Path, cloud: SandboxCloud) -> None:
    """One event loop, session and connector to send with, and none to read the ledger; no TLS context without TLS."""
    night = Night(tmp_path, cloud, images=2)
    plan, reading = str(night.path), {"ledger connections": 1}
    sending = {**reading, "event loops": 1, "HTTP sessions": 1, "connectors": 1}
    for command in (["run", plan], ["run", plan], ["diff", plan], ["verify", plan]):
        assert night.cost(*command, "-q").made == sending, command
    for command in (["show"], ["runs"], ["export"], ["who", night.images[0]], ["what", night.projects[0]]):
        assert night.cost(*command).made == reading, command
    assert night.cost("check", plan).made == {}


def test_a_second_run_takes_a_statement_or_two_an_image(tmp_path: Path, cloud: SandboxCloud) -> None:
    """One to read its pairs and one to settle them, beside their insertion; eight more for all images together."""
    costs = []
    for images in (2, 5):
        directory = tmp_path / str(images)
        directory.mkdir()
        night = Night(directory, cloud, images)
        night.cost("run", "-q", str(night.path))
        costs.append(night.cost("run", "-q", str(night.path)).of("pairs"))
    few, many = costs
    assert few == {"INSERT pairs": 80, "SELECT pairs": 10, "UPDATE pairs": 2}
    assert {name: many[name] - few[name] for name in few} == {"INSERT pairs": 120, "SELECT pairs": 3, "UPDATE pairs": 3}


def test_questions_take_as_many_statements_however_much_there_is(tmp_path: Path, cloud: SandboxCloud) -> None:
    """With one run in the ledger as with ten."""
    night = Night(tmp_path, cloud, images=2)
    questions = (["show"], ["runs"], ["who", night.images[0]], ["what", night.projects[0]])
    night.cost("run", "-q", str(night.path))
    night.cost("run", "-q", str(night.path))
    before = {question[0]: sum(night.cost(*question).statements.values()) for question in questions}
    for _ in range(8):
        night.cost("run", "-q", str(night.path))
    after = {question[0]: sum(night.cost(*question).statements.values()) for question in questions}
    assert before == after == {"show": 17, "runs": 5, "who": 11, "what": 11}
