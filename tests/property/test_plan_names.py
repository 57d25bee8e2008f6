"""Names beside IDs in a plan and its lists, however they are written."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkshare.plan.expand import expand, fingerprint
from bulkshare.plan.load import load_plan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bulkshare.model import Plan

    Named = Sequence[tuple[str, str]]  # IDs and their names; "": none

IDS = st.uuids().map(lambda uuid: uuid.hex)
NAMES = st.text("abcXYZ é(.-)_\U0001f600", max_size=30).map(lambda text: " ".join(text.split()))
NAMED = st.lists(st.tuples(IDS, NAMES), min_size=1, max_size=8, unique_by=lambda named: named[0])
HEAD = "version: 1\nname: n\n"
IMAGE = "d164b5df-1bc3-4c3f-893e-3e471fd16e64"
OPENSTACK = ("ID", "Name")


def block(named: Named) -> str:
    """Return items of YAML, one a line, with comments."""
    return "\n" + "".join(f"    - '{each}' # {name}\n" if name else f"    - {each}\n" for each, name in named)


def flow(named: Named) -> str:
    """Return items of YAML in brackets, one a line, with comments after the commas and the last one after the ]."""
    lines = [f"{each}{']' if n == len(named) else ','} # {name}" for n, (each, name) in enumerate(named, 1)]
    return " [\n      " + "\n      ".join(lines) + "\n"


def in_csv(rows: Sequence[Sequence[str]], **form: str) -> str:
    """Return rows as CSV."""
    file = io.StringIO(newline="")
    csv.writer(file, **form).writerows(rows)  # type: ignore[arg-type]  # of one type for all of them
    return file.getvalue()


def boxed(named: Named) -> str:
    """Return what the openstack command prints for people."""
    border = f"+{'-' * 34}+{'-' * 34}+\n"
    rows = "".join(f"| {each:<32} | {name:<32} |\n" for each, name in (OPENSTACK, *named))
    return border + rows.replace("\n", f"\n{border}", 1) + border


FILES: dict[str, Callable[[Named], str]] = {
    "value.txt": lambda named: "".join(f"{each} {name}\n" for each, name in named),
    "comments.txt": lambda named: "".join(f"{each}{f'  # {name}' if name else ''}\r\n" for each, name in named),
    "boxed.txt": boxed,
    "boxed.csv": boxed,
    "osc.csv": lambda named: in_csv([OPENSTACK, *named], quoting=csv.QUOTE_ALL),  # type: ignore[arg-type]
    "bare.csv": in_csv,
    "swapped.csv": lambda named: in_csv([("name", "x", "project_id"), *((name, "-", each) for each, name in named)]),
    "excel.csv": lambda named: f"sep=;\r\n{in_csv([OPENSTACK, *named], delimiter=';')}",
    "bar.txt": lambda named: f"sep=|\n{in_csv([OPENSTACK, *named], delimiter='|')}",
    "osc.json": lambda named: json.dumps([dict(zip(OPENSTACK, each, strict=True)) for each in named], indent=1),
    "flat.json": lambda named: json.dumps([{"Name": name, "domain": 1, "project_id": each} for each, name in named]),
}


def plan_of(projects: str, files: dict[str, str], encoding: str = "utf-8") -> Plan:
    """Return a plan with these projects, with files beside it."""
    with TemporaryDirectory() as folder:
        for name, text in files.items():
            (Path(folder) / name).write_bytes(text.encode(encoding))
        path = Path(folder) / "plan.yaml"
        path.write_bytes(f"{HEAD}share:\n- images: [{IMAGE}] # golden\n  projects:{projects}\n".encode())
        return load_plan(path)


def require(plan: Plan, named: Named) -> None:
    """Require the plan to have these projects with these names, and nothing else to differ."""
    assert plan.entries[0].projects == tuple(each for each, _ in named)
    assert dict(plan.names) == {IMAGE: "golden"} | {each: name for each, name in named if name}
    assert fingerprint(plan) == fingerprint(plan_of(f" [{', '.join(each for each, _ in named)}]", {}))


@given(NAMED, st.sampled_from([block, flow]))
def test_comments_in_the_plan(named: Named, written: Callable[[Named], str]) -> None:
    """They name the ID before them, in either style; IDs without one have no name."""
    require(plan_of(written(named), {}), named)


@given(NAMED, st.sampled_from(list(FILES)), st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"]))
def test_columns_and_comments_of_lists(named: Named, file: str, encoding: str) -> None:
    """Lists as the openstack command, Excel and people write them, also in UTF-16 without the mark."""
    require(plan_of(f" [{{file: {file}}}]", {file: FILES[file](named)}, encoding), named)


@given(NAMED, st.data())
def test_any_mix_of_sources(named: Named, data: st.DataObject) -> None:
    """An ID that has a name anywhere has one; of several, the first in the plan's order counts."""
    sources = data.draw(st.lists(st.sampled_from(list(FILES)), min_size=1, max_size=3, unique=True))
    names = [[(each, data.draw(NAMES)) for each, _ in named] for _ in sources]
    items = "".join(f"    - {{file: {file}}}\n" for file in sources)
    plan = plan_of(block(named) + items, {file: FILES[file](rows) for file, rows in zip(sources, names, strict=True)})
    for number, (each, name) in enumerate(named):
        known = [written for written in (name, *(rows[number][1] for rows in names)) if written]
        assert plan.names.get(each) == (known[0] if known else None)
    assert len(list(expand(plan))) == 1


@pytest.mark.parametrize(
    ("comment", "name"),
    [
        ("# acme \x1b[31mred\u202e ", None),  # YAML forbids these
        ("# acme  corp\u200b#1  ", "acme corp #1"),
        (f"# {'n' * 80}", "n" * 80),
        (f"# {'n' * 81}", ""),
        ("# asked for by https://wiki.example.com/acme", ""),
        ("#", ""),
        ("", ""),
    ],
)
def test_a_comment_is_a_name_if_it_is_short(comment: str, name: str | None) -> None:
    """It is cleaned for terminals; sentences and addresses are none."""
    project = "edc89b490d7d4392898e19b2deb34797"
    found = plan_of(" [{file: l.txt}]", {"l.txt": f"{project} {comment}\n"})
    assert found.names.get(project, "") == ("acme [31mred" if name is None else name)
    if name is not None:
        assert plan_of(f"\n    - {project} {comment}", {}).names.get(project, "") == name


def test_a_comment_after_several_ids_names_none() -> None:
    """It may be about all of them; nor does one that stands alone, or inside a text."""
    first, second, third = (digit * 32 for digit in "abc")
    assert plan_of(f" [{first}, {second}] # both", {}).names == {IMAGE: "golden"}
    alone = f"\n    # all\n    - {first}\n    # next\n    - {third}"
    assert plan_of(alone, {}).names == {IMAGE: "golden"}
