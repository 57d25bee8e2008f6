"""The documents do what they say: commands parse or run, plans load, links lead somewhere, tables are complete."""

from __future__ import annotations

import ast
import re
import shlex
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from bulkshare.api import RunOptions
from bulkshare.cli import main
from bulkshare.cli.check import check_document
from bulkshare.cli.exit_status import ExitStatus
from bulkshare.cli.manual import load_chapters
from bulkshare.model import Account, Problem, Result, Run, RunState
from bulkshare.plan.expand import Counts
from bulkshare.plan.load import load_plan
from bulkshare.plan.schema import plan_schema
from bulkshare.report import (
    COLUMNS,
    AtFault,
    Cause,
    Changes,
    Comparison,
    ImageChanges,
    Summary,
    cause_document,
    changes_document,
    comparison_document,
    run_document,
    run_status_of,
    summary_document,
)
from bulkshare.sandbox import Cloud, FaultRule
from bulkshare.sandbox import faults as fault_grammar
from tests.commands import PROGRAM, find_command, parse_command
from tests.picture import PICTURE, play, words
from tests.test_architecture import PURE_MODULES

if TYPE_CHECKING:
    from tests.shell import Shell

ROOT = Path(__file__).parents[1]
FOLDERS = ("plans", "bulkshare", "tests")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))])
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
TEXTS = {name: path.read_text("utf-8") for name, path in zip(NAMES, DOCUMENTS, strict=True)}
README = TEXTS["README.md"]
MANUAL = {name: text for name, text in TEXTS.items() if name.startswith("bulkshare/manual/")}


def blocks(text: str) -> list[tuple[str, str]]:
    """Return the fenced blocks of a document: language and text."""
    return re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def prose(text: str) -> str:
    """Return a document without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def typed(text: str) -> list[str]:
    """Return the bulkshare commands in a document's blocks, without the program's name."""
    return [
        re.split(r"\s(?:&&|[|>#])\s", line.rpartition("bin/bulkshare ")[2].removeprefix("bulkshare "))[0].strip()
        for language, block in blocks(text)
        if language in {"sh", "", "ini"}
        for line in block.splitlines()
        if re.search(r"(^|bin/)bulkshare ", line)
    ]


COMMANDS = [(name, command) for name, text in TEXTS.items() for command in typed(text)]
MENTIONED = sorted(
    {
        (name, " ".join(span.split()))
        for name, text in TEXTS.items()
        for span in re.findall(r"`(bulkshare [^`]+)`", prose(text))
    }
)
PLANS = [
    (name, block if "version: 1" in block else f"version: 1\nname: golden-nightly\n{block}")
    for name, text in TEXTS.items()
    for language, block in blocks(text)
    if language == "yaml" and ("version: 1" in block or block.startswith("share:\n  - images"))
]


def write_lists(directory: Path) -> None:
    """Write the files that the documents' plans name."""
    (directory / "tenants.txt").write_text("edc89b490d7d4392898e19b2deb34797\n", "utf-8")
    (directory / "partners.txt").write_text("8d2b3f7c5a9e4f0b9c1d2e3f4a5b6c7d\n", "utf-8")
    (directory / "tenants.csv").write_text("project_id\n2a6d1e8bac4f4d73c9b8e7f6a5d4c3b2\n", "utf-8")


def test_continuous_integration_runs_the_readme_commands() -> None:
    """The two lines of the README are lines of .ci/run."""
    lines = (ROOT / ".ci/run").read_text("utf-8").splitlines()
    first, second = [text.strip() for language, text in blocks(README) if language == "sh"][:2]
    assert first in lines
    assert second in lines


@pytest.mark.parametrize(("name", "command"), COMMANDS)
def test_commands_parse(name: str, command: str) -> None:
    """Every command line in a block is a command with arguments and options that exist."""
    del name
    parse_command(command)


@pytest.mark.parametrize(("name", "span"), MENTIONED)
def test_mentioned_commands_exist(name: str, span: str) -> None:
    """Every command in a sentence exists, with its options; a topic of the manual exists, too."""
    del name
    path, words = find_command(span.split()[1:])
    command = PROGRAM[path]
    if path == "bulkshare help":
        topic = words[:1]
        assert not topic or topic[0].isupper() or topic[0] in {*load_chapters(), *main.commands}
        return
    known = {option for parameter in command.params for option in parameter.opts} | {"--help", "-h"}
    assert {word for word in words if word.startswith("-")} <= known
    assert command is not main or not words or words[0].startswith("-"), "no such command"


@pytest.mark.parametrize(("name", "text"), PLANS)
def test_plans_load(name: str, text: str, tmp_path: Path) -> None:
    """Every plan is a good one; entries that stand alone are, with a head."""
    del name
    write_lists(tmp_path)
    plan = tmp_path / "plan.yaml"
    plan.write_text(text, "utf-8")
    assert load_plan(plan).name == "golden-nightly"


def test_python_in_the_manual_compiles() -> None:
    """What it shows is Python."""
    shown = [block for text in MANUAL.values() for language, block in blocks(text) if language == "python"]
    assert shown
    for block in shown:
        ast.parse(block)


@cache
def anchors(path: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)", prose(path.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    """Every relative link names a file or folder of the project, and every anchor a heading."""
    document = ROOT / name
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(TEXTS[name])):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(target), link


def sections() -> dict[str, str]:
    """Return the sections of the chapter on commands by the command's path."""
    parts = re.split(r"^## ", TEXTS["bulkshare/manual/commands.md"], flags=re.MULTILINE)[1:]
    return {re.sub(r" [A-Z\[].*", "", part.partition("\n")[0]): part for part in parts}


def test_every_command_is_documented() -> None:
    """The chapter on commands has a section for each command, and for no other."""
    assert set(sections()) == {path for path, command in PROGRAM.items() if path != "bulkshare ledger"}


@pytest.mark.parametrize("path", sections())
def test_every_option_is_documented(path: str) -> None:
    """A command's section lists each of its options, and no other, in its table or as shared with others."""
    part = sections()[path]
    cells = re.findall(r"^\| (`-.*?) \|(?! )?.*$", part.replace("\\|", "/"), re.MULTILINE)
    shared = re.search(r"^Shared options: ((?:.+\n?)+)", part, re.MULTILINE)
    spans = re.findall(r"`(--?[\w-]+)", " ".join([*cells, shared[1] if shared else ""]))
    assert len(spans) == len(set(spans))
    command = PROGRAM[path]
    assert set(spans) == {
        option for parameter in command.params if isinstance(parameter, click.Option) for option in parameter.opts
    }


RUN = Run(1, "run", "plan", "", Account("", "", "", "", "", ""), RunState.FINISHED, datetime(2026, 1, 1, tzinfo=UTC))
CAUSE = Cause("", {}, {}, (AtFault("image", "", 1, ""),))
JSON_KEYS = {
    "bulkshare check": {*check_document(Path("plan"), None), *Problem._fields, "cloud", *Counts._fields},
    "bulkshare run": {*summary_document(Summary(None, "plan", {}, 0, 0, 0.0)), "clouds", "verify"},
    "bulkshare diff": {
        *changes_document(changes := Changes("plan", (ImageChanges("image"),))),
        *changes_document(changes)["images"][0],
        "clouds",
        "version",
    },
    "bulkshare verify": {*comparison_document(Comparison("plan", 0, 0, {}, {}, {}, {})), "version", "clouds"},
    "bulkshare runs": {*run_document(run_status_of(RUN))} - {result.value for result in Result},
    "bulkshare show": {"causes", "clouds", *cause_document(CAUSE), *cause_document(CAUSE)["at_fault"][0]},
    "bulkshare export": {*COLUMNS},
}


@pytest.mark.parametrize("path", JSON_KEYS)
def test_every_key_is_documented(path: str) -> None:
    """A command's section names each key of its JSON, or each column."""
    assert JSON_KEYS[path] <= set(re.findall(r"`(\w+)`", sections()[path]))


def tables(head: str) -> list[tuple[str, set[str]]]:
    """Return the tables whose first column has a heading: document, and the words of the first column."""
    rows = rf"^\| {head} \|.*\n\|[-|]+\n((?:\|.*\n)+)"
    return [
        (name, {row.split("|")[1].strip(" `") for row in found.splitlines()})
        for name, text in TEXTS.items()
        for found in re.findall(rows, f"{text}\n", re.MULTILINE)
    ]


def test_exit_codes_are_documented() -> None:
    """Every table of exit codes has all of them, and there is one in the manual."""
    found = tables("code")
    assert "bulkshare/manual/exit-codes.md" in dict(found)
    for name, codes in found:
        assert codes == {str(int(status)) for status in ExitStatus}, name


def test_the_help_of_diff_has_its_exit_codes() -> None:
    """It names all that a look at the changes may end with, and the chapter on commands does, too."""
    for text in (PROGRAM["bulkshare diff"].help or "", sections()["bulkshare diff"]):
        assert {str(int(status)) for status in (ExitStatus.CHANGES, ExitStatus.CANT_BE_DONE)} <= set(
            re.findall(r"\b\d\d\b", text)
        )


@pytest.mark.parametrize("name", NAMES)
def test_lines_are_not_too_long(name: str) -> None:
    """No line has more than 120 characters, but for rows of tables; the README has no more than 120 lines."""
    lines = TEXTS[name].splitlines()
    assert not [line for line in lines if len(line) > 120 and not line.startswith("|")]
    assert name != "README.md" or len(lines) <= 120


def test_results_are_documented() -> None:
    """Every table of results has all of them, and there is one in the manual."""
    found = tables("result")
    assert "bulkshare/manual/results.md" in dict(found)
    for name, results in found:
        assert results == {result.value for result in Result}, name


def plan_keys(schema: object) -> set[str]:
    """Return the keys that a JSON Schema knows, however deep."""
    if isinstance(schema, list):
        return set().union(*map(plan_keys, schema))
    if not isinstance(schema, dict):
        return set()
    return set(schema.get("properties", ())).union(*map(plan_keys, schema.values()))


@pytest.mark.parametrize("name", ["plans/README.md", "bulkshare/manual/plans.md"])
def test_every_key_of_a_plan_is_documented(name: str) -> None:
    """Both texts about plans have every key, in a sentence or in an example."""
    keys = plan_keys(plan_schema())
    assert len(keys) > 30
    assert keys <= set(re.findall(r"[a-z_]+", TEXTS[name]))


def test_every_room_is_described() -> None:
    """The page about the code has a row for each package."""
    packages = {path.parent.name for path in (ROOT / "bulkshare").glob("*/__init__.py")}
    (rooms,) = [cells for name, cells in tables("room") if name == "bulkshare/README.md"]
    assert packages | {"manual", "api"} == rooms
    assert all(f"`{module}`" in TEXTS["bulkshare/README.md"] for module in PURE_MODULES)


def test_arguments_from_python_are_documented() -> None:
    """The chapter on Python has every option of `run`."""
    (listed,) = [cells for name, cells in tables("argument") if name == "bulkshare/manual/python.md"]
    spans = {span.strip("` ") for cell in listed for span in cell.split(",")}
    assert spans == set(RunOptions.__annotations__)


def test_the_grammar_of_faults_is_documented() -> None:
    """The chapter on the sandbox has every method and target, and its examples are rules."""
    text = TEXTS["bulkshare/manual/sandbox.md"]
    for word in (*fault_grammar.METHODS, *fault_grammar.TARGETS):
        assert f"`{word}`" in text
    assert fault_grammar.GRAMMAR in text
    for rule in re.findall(r"--fault '([^']+)'", text):
        FaultRule.parse(rule)


@cache
def literals() -> list[str]:
    """Return every text in the source of the package, with adjoining literals joined."""
    nodes = (node for path in (ROOT / "bulkshare").rglob("*.py") for node in ast.walk(ast.parse(path.read_bytes())))
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


@pytest.mark.parametrize(
    "message", re.findall(r"^### `(.+)`$", MANUAL["bulkshare/manual/troubleshooting.md"], re.MULTILINE)
)
def test_explained_messages_exist(message: str) -> None:
    """Each message in the chapter on troubleshooting is one that bulkshare has."""
    for part in filter(None, (part.strip(" ;`") for part in message.split("..."))):
        assert any(part in text for text in literals()), part


def test_the_guide_from_plan_to_ledger(shell: Shell) -> None:
    """The steps of "Your own cloud in five minutes", typed one after the other."""
    shell.start_sandbox()
    clouds = (shell.directory / "clouds.yaml").read_text("utf-8").replace("  sandbox:", "  prod:")
    shell.write("clouds.yaml", clouds)
    write_lists(shell.directory)
    cloud = Cloud.sample(1, 1)
    image, project = next(iter(cloud.images)), next(p.id for p in cloud.projects.values() if p.name == "project-001")
    shell.write("tenants.txt", project)
    (plan,) = [text for name, text in PLANS if name == "README.md"]
    shell.write("golden.yaml", plan.replace("d164b5df-1bc3-4c3f-893e-3e471fd16e64", image))
    guide = typed(README.partition("## Your own cloud in five minutes")[2].partition("\n## ")[0])
    entered = [shlex.split(command) for command in guide if "/etc/" not in command]
    assert [args[0] for args in entered] == ["check", "run", "run", "runs", "show", "export"]
    for args in entered:
        shell.run(*args, exit_code=10 if "--dry-run" in args else 0)
    assert "shared" in (shell.directory / "golden.csv").read_text("utf-8")


def test_the_plan_of_the_sandbox_chapter_fits_the_sandbox(shell: Shell) -> None:
    """The chapter's commands, in its order, beside a sandbox as it starts without options."""
    shell.start_sandbox()
    chapter = "bulkshare/manual/sandbox.md"
    (plan,) = [text for name, text in PLANS if name == chapter]
    shell.write("golden.yaml", plan)
    example = typed(TEXTS[chapter].partition("## A plan for it")[2].partition("\n## ")[0])
    serve, diff, run, verify = [shlex.split(command) for command in example]
    assert serve[0] == "sandbox"
    assert "30 to add" in shell.run(*diff, exit_code=10).stdout
    shell.run(*run)
    shell.run(*verify)


def test_promises_name_tests_that_exist() -> None:
    """Every file that the table of promises names is there."""
    named = re.findall(r"`(tests/[\w/.]+)`", TEXTS["tests/README.md"])
    assert len(named) > 20
    for path in named:
        assert (ROOT / path).exists(), path


def test_the_picture_shows_what_the_program_prints() -> None:
    """After a change of the output: `.venv/bin/python -m tests.picture`."""
    assert words(PICTURE.read_text("utf-8")) == words("\n".join(play()))
