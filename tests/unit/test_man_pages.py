"""The man pages: complete, and without anything that man(1) complains about."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from bulkshare.cli import main
from bulkshare.cli.command import walk
from bulkshare.cli.manual import page_name, write_man_pages

ROOT = Path(__file__).parents[2]
MAN = shutil.which("man")
NAMES = [page_name(ctx) for ctx in walk(main)]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with all pages."""
    folder = tmp_path_factory.mktemp("man")
    write_man_pages(main, folder)
    return folder


def test_every_command_has_a_page(pages: Path) -> None:
    """Subcommands too."""
    assert {"bulkshare", "bulkshare-run", "bulkshare-ledger-prune"} < set(NAMES)
    assert {path.stem for path in pages.iterdir()} == set(NAMES)


@pytest.mark.skipif(MAN is None, reason="needs man")
@pytest.mark.parametrize("number", range(len(NAMES)))
def test_man_renders_a_page(pages: Path, number: int) -> None:
    """Without a warning, and with every option and example."""
    ctx = list(walk(main))[number]
    done = subprocess.run(
        [str(MAN), "--warnings", "-E", "UTF-8", "-P", "cat", "-l", str(pages / f"{NAMES[number]}.1")],
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MANWIDTH": "200"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stderr
    for param in ctx.command.get_params(ctx):
        for option in param.opts:
            assert not option.startswith("-") or option in done.stdout
    for example in getattr(ctx.command, "examples", ()):
        assert f" {example}\n" in done.stdout
    assert "\\" not in done.stdout


def test_options_are_those_with_a_description(pages: Path) -> None:
    """An argument has none; the synopsis shows it, and the description explains it."""
    for page in pages.iterdir():
        options = page.read_text("utf-8").partition(".SH OPTIONS\n")[2].partition(".SH ")[0]
        assert "\n\n" not in options
        assert all(term.startswith("\\fB\\-") for term in options.split(".TP\n")[1:])


def test_related_pages_are_referred_to(pages: Path) -> None:
    """The command above and those below, and no namesake."""
    text = (pages / "bulkshare-run.1").read_text("utf-8")
    assert "bulkshare\\-runs" not in text
    assert "bulkshare\\-ledger\\-prune" in (pages / "bulkshare-ledger.1").read_text("utf-8")


def test_the_wheel_has_pages_and_manual(pages: Path, tmp_path: Path) -> None:
    """They are installed below share/man and beside the code."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        for page in pages.iterdir():
            (name,) = (name for name in names if name.endswith(f".data/data/share/man/man1/{page.name}"))
            assert archive.read(name) == page.read_bytes()
    chapters = {path.name for path in (ROOT / "bulkshare/manual").glob("*.md")}
    assert chapters == {Path(name).name for name in names if name.startswith("bulkshare/manual/")}
