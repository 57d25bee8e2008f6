"""Good plans: what a plan file comes to. Bad ones are in test_plan.py."""

from __future__ import annotations

import codecs
import io
import os
from pathlib import Path

import pytest

from bulkshare.errors import PlanError
from bulkshare.model import (
    Entry,
    ImageSelector,
    Limits,
    Notify,
    NotifyOn,
    Plan,
    ProjectSelector,
    RetryPolicy,
    Webhook,
    WebhookFormat,
)
from bulkshare.plan.expand import Counts, count, fingerprint
from bulkshare.plan.lists import LOOKS_LIKE_AN_ID, all_canonical, canonical_id, id_fault
from bulkshare.plan.load import load_plan

HEAD = "version: 1\nname: nightly\n"
UUID = "d164b5df-1bc3-4c3f-893e-3e471fd16e64"
HEX = "edc89b490d7d4392898e19b2deb34797"
OTHER_HEX = "1f5c0d7a9b3e4c62b8a7d6e5f4c3b2a1"


def load(folder: Path, text: str) -> Plan:
    """Read a plan of this text, in this folder."""
    path = folder / "plan.yaml"
    path.write_bytes(text.encode())
    return load_plan(path)


def projects_of(folder: Path, items: str) -> tuple[str | ProjectSelector, ...]:
    """Return the projects of the one entry of a plan in which these items stand."""
    return load(folder, f"{HEAD}share:\n- images: [i]\n  projects: {items}\n").entries[0].projects


def test_defaults(tmp_path: Path) -> None:
    """A plan of a version, a name and one pair is whole."""
    plan = load(tmp_path, HEAD + "share: [{images: [i], projects: [p]}]\n")
    assert plan == Plan("nightly", (Entry(("i",), ("p",), frozenset()),), (), None, Limits(), RetryPolicy())


def test_everything(tmp_path: Path) -> None:
    """All that a plan can say arrives, with units."""
    text = f"""\
{HEAD}cloud: prod
region: eu-de
limits: {{concurrency: 3, rate: 2.5, per_image: 1}}
retry: {{attempts: 9, base: 250ms, cap: 1m30s}}
groups:
  images: {{golden: [i, j]}}
  projects: {{tenants: [p, q]}}
share:
  - images: [{{group: golden}}, k]
    projects: [{{group: tenants}}, r]
    except: [q]
  - {{images: [l], projects: [p]}}
"""
    assert load(tmp_path, text) == Plan(
        name="nightly",
        entries=(
            Entry(("i", "j", "k"), ("p", "q", "r"), frozenset({"q"})),
            Entry(("l",), ("p",)),
        ),
        clouds=("prod",),
        region="eu-de",
        limits=Limits(concurrency=3, rate=2.5, per_image=1),
        retry=RetryPolicy(attempts=9, base_seconds=0.25, cap_seconds=90.0),
    )


@pytest.mark.parametrize(
    "written",
    ["0123", "0x1F", "1e5", "1_000", "12:30:45", "2026-01-01", "yes", "off", "true", ".inf", "3.10", "=", UUID, HEX],
)
def test_ids_are_text(tmp_path: Path, written: str) -> None:
    """What YAML would take for a number, a date or a truth value stays as it was written."""
    assert projects_of(tmp_path, f"[{written}, '{written}']") == (written, written)


def test_who_is_told(tmp_path: Path) -> None:
    """Paths are relative to the plan, a bare name is left to PATH, and a single end needs no list."""
    smallest = HEAD + "share: [{images: [i], projects: [p]}]\n"
    assert load(tmp_path, smallest).notify is None
    told = load(
        tmp_path, smallest + "notify: {command: [./tell, ./x], webhook: {file: url}, on: change, timeout: 5s}\n"
    )
    assert told.notify == Notify(
        (str(tmp_path / "tell"), "./x"),
        Webhook(file=str(tmp_path / "url")),
        on=frozenset({NotifyOn.CHANGE}),
        timeout_seconds=5.0,
    )
    told = load(tmp_path, smallest + "notify: {command: [tell], webhook: {from_env: URL, format: slack}}\n")
    assert told.notify == Notify(("tell",), Webhook(from_env="URL"), WebhookFormat.SLACK)


def test_ids_in_quotes(tmp_path: Path) -> None:
    """In quotes even null is an ID."""
    assert projects_of(tmp_path, "['null', \"~\"]") == ("null", "~")


def test_longest_id(tmp_path: Path) -> None:
    """An ID may have 255 characters."""
    assert projects_of(tmp_path, f"[{'x' * 255}]") == ("x" * 255,)


def test_groups_in_groups(tmp_path: Path) -> None:
    """Groups hold groups, defined before or after, and named as numbers are; images and projects don't mix."""
    text = f"""\
{HEAD}groups:
  images: {{7: [i]}}
  projects: {{all: [{{group: some}}, {{group: 7}}, {{group: some}}], some: [p, {{group: 7}}], 7: [q]}}
share: [{{images: [{{group: 7}}], projects: [{{group: all}}]}}]
"""
    assert load(tmp_path, text).entries == (Entry(("i",), ("p", "q", "q", "p", "q")),)


def test_a_group_used_only_to_leave_projects_out_is_used(tmp_path: Path) -> None:
    """`except` takes groups and files, too."""
    (tmp_path / "gone.txt").write_text("q\n")
    text = f"""\
{HEAD}groups: {{projects: {{former: [{{file: gone.txt}}]}}}}
share: [{{images: [i], projects: [p, q], except: [{{group: former}}]}}]
"""
    assert load(tmp_path, text).entries == (Entry(("i",), ("p", "q"), frozenset({"q"})),)


def test_files_are_relative_to_the_plan(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder in which the command runs does not matter."""
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "a.txt").write_text("p\n")
    outside = tmp_path_factory.mktemp("outside")
    (outside / "b.txt").write_text("q\n")
    monkeypatch.chdir(outside)
    assert projects_of(tmp_path, f"[{{file: lists/a.txt}}, {{file: {outside / 'b.txt'}}}]") == ("p", "q")


@pytest.mark.parametrize(
    "text",
    [
        "p\nq\n",
        "p\nq",
        "p\r\nq\r\n",
        "# all of them\n\np   # the first\n \t \n\tq#the second\n",
        "\ufeffp\nq\n",
    ],
)
def test_text_lists(tmp_path: Path, text: str) -> None:
    """One ID a line; blank lines, comments, any line ends and a byte order mark."""
    (tmp_path / "list.txt").write_bytes(text.encode())
    assert projects_of(tmp_path, "[{file: list.txt}]") == ("p", "q")


@pytest.mark.parametrize(
    "text",
    [
        f"name,project_id\nacme,{HEX}\ninitech,{OTHER_HEX}\n",
        f"Name, Project_ID \r\nacme, {HEX} \r\n\r\n,\r\ninitech,{OTHER_HEX}",
        f"{HEX},acme\n{OTHER_HEX},initech\n",
        f"{HEX}\n{OTHER_HEX}\n",
        f"id,name\n{HEX},acme\n{OTHER_HEX},initech\n",
        f'\ufeffname,project_id\n"acme, and\nsons",{HEX}\n"a ""b""","{OTHER_HEX}"\n',
    ],
)
def test_csv_lists(tmp_path: Path, text: str) -> None:
    """The column project_id wherever it stands, else the first one, with a heading or without."""
    (tmp_path / "list.CSV").write_bytes(text.encode())
    assert projects_of(tmp_path, "[{file: list.CSV}]") == (HEX, OTHER_HEX)


TABLES = {
    "osc.csv": f'"Name","ID"\r\n"acme","{HEX}"\r\n"init,ech","{OTHER_HEX}"\r\n'.encode(),
    "value.txt": f"{HEX} acme\n{OTHER_HEX} init ech\n".encode(),
    "value-name-first.txt": f"acme {HEX}\ninit ech {OTHER_HEX}\n".encode(),
    "osc.json": f'[{{"ID": "{HEX}", "Name": "acme"}}, {{"ID": "{OTHER_HEX}", "Name": "x"}}]'.encode(),
    "texts.json": f'["{HEX}", "{OTHER_HEX}"]'.encode(),
    "console.csv": f"Name,Project ID\nacme,{HEX}\ninitech,{OTHER_HEX}\n".encode(),
    "excel.csv": f"\ufeffproject_id;name\r\n{HEX};acme\r\n{OTHER_HEX};a, b\r\n".encode(),
    "semicolons without a heading.csv": f"{HEX};acme\n{OTHER_HEX};initech\n".encode(),
    "tabs.csv": f"name\tid\nacme\t{HEX}\ninitech\t{OTHER_HEX}\n".encode(),
    "tabs.tsv": f"name\tTenant-ID\nacme\t{HEX}\ninitech\t{OTHER_HEX}\n".encode(),
    "table.txt": f'"ID","Name"\n"{HEX}","acme"\n"{OTHER_HEX}","initech"\n'.encode(),
    "utf-16.csv": f"Name\tID\r\nacme\t{HEX}\r\ninitech\t{OTHER_HEX}\r\n".encode("utf-16"),
    "utf-16.txt": f"{HEX}\r\n{OTHER_HEX}".encode("utf-16"),
    "big-endian.txt": codecs.BOM_UTF16_BE + f"{HEX}\n{OTHER_HEX}\n".encode("utf-16-be"),
    "capitals.txt": f"{HEX.upper()}\n{OTHER_HEX.upper()}\n".encode(),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_others(tmp_path: Path, name: str) -> None:
    """What `openstack project list` prints in each of its formats, and what spreadsheets and consoles export."""
    (tmp_path / name).write_bytes(TABLES[name])
    assert projects_of(tmp_path, f"[{{file: {name}}}]") == (HEX, OTHER_HEX)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("names.txt", "acme #1 GmbH # the first\n# no one\nInit Ech\n"),
        ("names.csv", "acme #1 GmbH\nInit Ech\n"),
        ("list.csv", f"ID;Name\n{HEX};acme #1 GmbH\n{OTHER_HEX};Init Ech\n"),
        ("list.json", '[{"Name": "acme #1 GmbH"}, {"Name": "Init Ech"}]'),
    ],
)
def test_lists_of_names(tmp_path: Path, name: str, text: str) -> None:
    """Each is a selector, with its place in the list."""
    (tmp_path / name).write_text(text)
    found = projects_of(tmp_path, f"[{{file: {name}, as: name}}]")
    expected = [ProjectSelector(name="acme #1 GmbH"), ProjectSelector(name="Init Ech")]
    if name != "names.txt":
        assert list(found) == expected
    else:
        assert list(found) == [ProjectSelector(name="acme"), ProjectSelector(name="Init Ech")]
        assert [each.place for each in found if isinstance(each, ProjectSelector)] == [
            f"{tmp_path / name}:1:1",
            f"{tmp_path / name}:3:1",
        ]


def test_names_of_images(tmp_path: Path) -> None:
    """Images go by name as projects do, and the same file may be read in both ways."""
    (tmp_path / "list.csv").write_text(f"image_id,name\n{UUID},ubuntu\n")
    text = f"{HEAD}share: [{{images: [{{file: list.csv}}, {{file: list.csv, as: name}}], projects: [p]}}]\n"
    assert load(tmp_path, text).entries[0].images == (UUID, ImageSelector(name="ubuntu"))


@pytest.mark.parametrize("written", [UUID, UUID.upper(), UUID.replace("-", ""), UUID.replace("-", "").upper()])
def test_image_ids_are_canonical(tmp_path: Path, written: str) -> None:
    """However a UUID is written, it is the image's, and the same plan."""
    plan = load(tmp_path, f"{HEAD}share: [{{images: [{written}], projects: [{HEX}]}}]\n")
    assert plan.entries[0].images == (UUID,)
    assert fingerprint(plan) == "c8a3ab464de9994ba7a0efcf4d7da66911e323151f705df9f1d5f1b3025fe01c"


def test_project_ids_are_in_lower_case(tmp_path: Path) -> None:
    """Under `except` and `keep`, too. Texts that are no UUIDs keep their case."""
    shouted = f"[{HEX.upper()}, {UUID.upper()}]"
    text = f"{HEAD}share: [{{images: [i], projects: [Acme], except: {shouted}, prune: true, keep: {shouted}}}]\n"
    (entry,) = load(tmp_path, text).entries
    assert entry.projects == ("Acme",)
    assert entry.excluded == entry.keep == {HEX, UUID}


def test_csv_column_of_images(tmp_path: Path) -> None:
    """One table can serve for both: images come from image_id, projects from project_id."""
    (tmp_path / "both.csv").write_text(f"project_id,image_id\n{HEX},{UUID}\n")
    text = HEAD + "share: [{images: [{file: both.csv}], projects: [{file: both.csv}]}]\n"
    assert load(tmp_path, text).entries == (Entry((UUID,), (HEX,)),)


def test_aliases(tmp_path: Path) -> None:
    """Anchors and aliases are a way to write something twice."""
    text = f"{HEAD}share:\n- &one {{images: [i], projects: &p [&x p, *x]}}\n- {{images: [j], projects: *p}}\n- *one\n"
    one, other = Entry(("i",), ("p", "p")), Entry(("j",), ("p", "p"))
    assert load(tmp_path, text).entries == (one, other, one)


def test_a_plan_from_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe is read once, whether it is named as a file or as `-`; lists are relative to the current folder."""
    (tmp_path / "list.txt").write_text("p\nq\n")
    monkeypatch.chdir(tmp_path)
    text = f"{HEAD}share: [{{images: [i], projects: [{{file: list.txt}}]}}]\n".encode()
    reading, writing = os.pipe()
    os.write(writing, text)
    os.close(writing)
    try:
        assert load_plan(Path(f"/dev/fd/{reading}")).entries == (Entry(("i",), ("p", "q")),)
    finally:
        os.close(reading)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert load_plan(Path("-")).entries == (Entry(("i",), ("p", "q")),)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"share: [")))
    with pytest.raises(PlanError, match="standard input:2:1: is not valid YAML"):
        load_plan(Path("-"))


@pytest.mark.parametrize("file", ["-", "/dev/stdin"])
def test_a_list_from_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    """It is read if it is there to be read: not if the plan itself comes from there, or someone only looks at it."""
    text = f"{HEAD}share: [{{images: [i], projects: [{{file: '{file}'}}]}}]\n".encode()
    reading, writing = os.pipe()
    before = os.dup(0)
    os.dup2(reading, 0)
    try:
        os.write(writing, b"p\nq\n")
        os.close(writing)
        with pytest.raises(PlanError, match="has no list here"):
            load_plan(tmp_path / "plan.yaml", text, piped=False)
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
        with pytest.raises(PlanError, match="has no list here"):
            load_plan(Path("-"))
        assert load_plan(tmp_path / "plan.yaml", text).entries == (Entry(("i",), ("p", "q")),)
    finally:
        os.dup2(before, 0)
        os.close(before)
        os.close(reading)


def test_the_same_pair_twice(tmp_path: Path) -> None:
    """It is no problem, and `check` tells of it."""
    plan = load(tmp_path, HEAD + "share: [{images: [i, i], projects: [p]}, {images: [i], projects: [p, q]}]\n")
    assert count(plan) == Counts(images=1, projects=2, pairs=2, duplicates=2)


def test_entries_with_one_group_share_its_ids(tmp_path: Path) -> None:
    """A thousand entries with the group of all tenants hold its IDs once."""
    text = HEAD + "groups: {projects: {all: [p, q]}}\nshare:\n" + "- {images: [i], projects: [{group: all}]}\n" * 3
    first, second, third = load(tmp_path, text).entries
    assert first.projects is second.projects is third.projects


def test_a_plan_without_problems_is_read_without_a_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only places need PyYAML's nodes, which take six times the room of a list of IDs; lists share equal texts."""
    monkeypatch.setattr("yaml.compose", None)
    entry = f"- images: [{UUID}]\n  projects: [{HEX}, {OTHER_HEX}]\n"
    plan = load(tmp_path, f"# A comment alone is no name.\n{HEAD}share:\n{entry}{entry}")
    first, second = plan.entries
    assert first.projects == (HEX, OTHER_HEX)
    assert all(one is other for one, other in zip(first.projects, second.projects, strict=True))


@pytest.mark.parametrize("kind", ["images", "projects"])
@pytest.mark.parametrize(
    "text",
    [UUID, UUID.upper(), UUID.replace("-", ""), f"{UUID}0", UUID[1:], f"{UUID}\n", HEX.upper(), "", "p1", "----"],
)
def test_a_canonical_id_is_one_to_be_taken_as_it_is(kind: str, text: str) -> None:
    """No fault would be found, and the ID would stay as it is."""
    looks = LOOKS_LIKE_AN_ID.fullmatch(text) is not None and id_fault(text) is None
    assert all_canonical([text], kind) == (looks and canonical_id(text, kind) == text)


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_line_ends_and_byte_order_mark(tmp_path: Path, mark: bytes, line_end: str) -> None:
    """Plans from Windows editors are plans."""
    text = (HEAD + "share:\n- images: [i]\n  projects:\n  - p # é\n").replace("\n", line_end)
    (tmp_path / "plan.yaml").write_bytes(mark + text.encode())
    assert load_plan(tmp_path / "plan.yaml").entries == (Entry(("i",), ("p",)),)


def test_a_document_may_have_its_marks(tmp_path: Path) -> None:
    """One document between --- and ... is a plan, too."""
    assert load(tmp_path, f"---\n{HEAD}share: [{{images: [i], projects: [p]}}]\n...\n").name == "nightly"
