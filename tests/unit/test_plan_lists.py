"""Bad plans: what is wrong with each, where, and in which order. Good ones are in test_plan_good.py.

What is wrong with groups, IDs and the lists in files of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bulkshare.errors import PlanError
from bulkshare.plan.load import load_plan

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "version: 1\nname: n\n"
PAIR = "share:\n- images: [a]\n  projects: [b]\n"

HEX = "edc89b490d7d4392898e19b2deb34797"
SPREADSHEET = "is a spreadsheet; save it as CSV, with the column of IDs formatted as text"
UNLIKE = (
    "does not look like the other IDs of this list; correct it, or remove it; to select by name, write "
    "{file: l.txt, as: name}"
)
CUT = f"'{HEX[:9]}' does not look like the other IDs of this list; it has 9 characters: is it cut off?"
SPACE = "white space, which no ID may contain: give each ID its own item or line"
NAMES = ". A list of names is {file: ..., as: name}"

GROUPS = [
    pytest.param(
        HEAD
        + (
            "groups: {images: {gold: [a]}, projects: {tenants: [b]}}\nshare:\n- images: [{group: golden}]\n"
            "  projects: [{group: zzzz}]\n  except: [{group: gold}]\n"
        ),
        [
            "3:42: group 'tenants' is not used; use it, or remove it",
            "5:20: there is no group 'golden' of images; did you mean 'gold'?",
            "6:22: there is no group 'zzzz' of projects; there are: tenants",
            "7:20: there is no group 'gold' of projects; there are: tenants",
        ],
        id="undefined groups",
    ),
    pytest.param(
        HEAD + "share:\n- images: [{group: golden}]\n  projects: [{group: zzzz}]\n",
        [
            ("4:20: there is no group 'golden' of images; none is defined; define it in `groups: {images: ...}`"),
            ("5:22: there is no group 'zzzz' of projects; none is defined; define it in `groups: {projects: ...}`"),
        ],
        id="no groups at all",
    ),
    pytest.param(
        HEAD + PAIR + "groups:\n  images: {gold: [a]}\n  projects: {a: [{group: b}], b: [x], 7: [y]}\n",
        [
            "7:12: group 'gold' is not used; use it, or remove it",
            "8:14: group 'a' is not used; use it, or remove it",
            "8:39: group '7' is not used; use it, or remove it",
        ],
        id="unused groups",
    ),
    pytest.param(
        HEAD
        + (
            "groups:\n  projects:\n    a: [{group: b}]\n    b: [{group: c}, x]\n    c: [{group: a}]\n"
            "share:\n- images: [a]\n  projects: [{group: a}]\n- images: [b]\n  projects: [{group: b}]\n"
        ),
        ["7:17: groups refer to each other in a circle; remove this reference: a -> b -> c -> a"],
        id="a circle",
    ),
    pytest.param(
        HEAD + PAIR + "groups:\n  projects:\n    a: [{group: a}]\n    b: [{group: c}]\n    c: [{group: b}]\n",
        [
            "8:5: group 'a' is not used; use it, or remove it",
            "8:17: groups refer to each other in a circle; remove this reference: a -> a",
            "9:5: group 'b' is not used; use it, or remove it",
            "10:17: groups refer to each other in a circle; remove this reference: b -> c -> b",
        ],
        id="circles that nothing uses",
    ),
    pytest.param(
        HEAD + PAIR + "groups:\n  projects:\n    a: [{group: zz}, 'x y', {file: nope}]\n",
        [
            "8:5: group 'a' is not used; use it, or remove it",
            "8:17: there is no group 'zz' of projects; there are: a",
            "8:22: 'x y' contains white space, which no ID may contain: give each ID its own item or line",
            "8:36: nope: no such file",
        ],
        id="trouble in a group that nothing uses",
    ),
    pytest.param(
        HEAD + "share:\n- images: [a]\n  projects: [a b]\n  except: [c/d]\n",
        [
            "5:14: 'a b' contains white space, which no ID may contain: give each ID its own item or line",
            "6:12: 'c/d' contains '/', which no ID may contain",
        ],
        id="bad IDs",
    ),
    pytest.param(
        HEAD + "share:\n- images: [a]\n  projects: [b, c, b]\n  except: [c, b, d]\n",
        ["6:11: leaves no project; remove the entry"],
        id="no project left",
    ),
    pytest.param(
        HEAD
        + (
            "groups:\n  projects:\n    a: &a ['x y']\n    b: *a\nshare:\n- images: [a]\n"
            "  projects: [{group: a}, {group: b}]\n"
        ),
        ["5:12: 'x y' contains white space, which no ID may contain: give each ID its own item or line"],
        id="in a group that an alias repeats",
    ),
    pytest.param(
        HEAD + 'share:\n- images: ["a\u202eb"]\n  projects: [b]\n',
        ["4:12: 'a b' contains the invisible character U+202E RIGHT-TO-LEFT OVERRIDE, which no ID may contain"],
        id="an invisible character",
    ),
    pytest.param(
        HEAD + 'share:\n- images: [a]\n  projects: [{file: "a\\0b"}]\n',
        ["5:21: a b: can't be read: embedded null byte"],
        id="NUL in a file's name",
    ),
]
IDS = [
    pytest.param("''", "an ID can't be empty", id="''"),
    pytest.param(
        "a b", "'a b' contains white space, which no ID may contain: give each ID its own item or line", id="a b"
    ),
    pytest.param(
        "' a'", "'a' contains white space, which no ID may contain: give each ID its own item or line", id="' a'"
    ),
    pytest.param("a/b", "'a/b' contains '/', which no ID may contain", id="a/b"),
    pytest.param("a\\b", "'a\\\\b' contains '\\\\', which no ID may contain", id="a\\b"),
    pytest.param(
        "a?b",
        "'a?b' contains '?', which no ID may contain: to select by name, write {name: ...} in the plan",
        id="a pattern",
    ),
    pytest.param(
        "ubuntu-*",
        "'ubuntu-*' contains '*', which no ID may contain: to select by name, write {name: ...} in the plan",
        id="a glob",
    ),
    pytest.param(
        "'a[12]'",
        "'a[12]' contains '[', which no ID may contain: to select by name, write {name: ...} in the plan",
        id="a choice",
    ),
    pytest.param("a#b", "'a#b' contains '#', which no ID may contain", id="a#b"),
    pytest.param("a%b", "'a%b' contains '%', which no ID may contain", id="a%b"),
    pytest.param("'a,b'", "'a,b' contains ',', which no ID may contain", id="'a,b'"),
    pytest.param("a;b", "'a;b' contains ';', which no ID may contain", id="a;b"),
    pytest.param('"a\'b"', '"a\'b" contains "\'", which no ID may contain', id='"a\'b"'),
    pytest.param(
        '"a\\tb"',
        "'a b' contains white space, which no ID may contain: give each ID its own item or line",
        id='"a\\tb"',
    ),
    pytest.param(
        '"a\\0b"',
        "'a b' contains the invisible character U+0000 (a control character), which no ID may contain",
        id='"a\\0b"',
    ),
    pytest.param(
        '"a\\e[2Jb"',
        "'a [2Jb' contains the invisible character U+001B (a control character), which no ID may contain",
        id='"a\\e[2Jb"',
    ),
    pytest.param("é", "'é' contains 'é', which no ID may contain", id="\\xe9"),
    pytest.param("x" * 256, "an ID of 256 characters; the maximum is 255", id="too long"),
]
LISTS = [
    pytest.param("no.txt", None, ["5:21: no.txt: no such file"], id="a missing file"),
    pytest.param(".", None, ["5:21: FOLDER: is a directory, not a file"], id="a folder"),
    pytest.param("plan.yaml/x", None, ["5:21: plan.yaml/x: can't be read: Not a directory"], id="a file in a file"),
    pytest.param("loop", None, ["5:21: loop: can't be read: Too many levels of symbolic links"], id="a link to itself"),
    pytest.param(
        "l.txt", b"", ["5:21: l.txt: contains no IDs; add some, or remove it from the plan"], id="an empty list"
    ),
    pytest.param(
        "l.txt", b"# a\n\n", ["5:21: l.txt: contains no IDs; add some, or remove it from the plan"], id="only comments"
    ),
    pytest.param(
        "l.csv",
        b"project_id\n",
        ["5:21: l.csv: contains no IDs; add some, or remove it from the plan"],
        id="only a heading",
    ),
    pytest.param(
        "l.txt",
        b"a b\r\nok\r\n\r\n  x/y # c\r\n\x01\r\n\xc3\xa9\r\n",
        [
            "l.txt:1:2: 'a b' contains white space, which no ID may contain: give each ID its own item or line"
            ". A list of names is {file: ..., as: name}",
            "l.txt:4:4: 'x/y' contains '/', which no ID may contain",
            "l.txt:5:1: '' contains the invisible character U+0001 (a control character), which no ID may contain",
            "l.txt:6:1: 'é' contains 'é', which no ID may contain. A list of names is {file: ..., as: name}",
        ],
        id="bad lines",
    ),
    pytest.param("l.txt", b"a,b\n", ["l.txt:1:2: 'a,b' contains ',', which no ID may contain"], id="a table as text"),
    pytest.param(
        "l.txt",
        b"\xef\xbb\xbfok\n\xc3\xa9\xfc\n",
        ["l.txt:2:2: byte 0xfc is not UTF-8; save the file as UTF-8"],
        id="not UTF-8",
    ),
    pytest.param(
        "l.txt", b"\xff\xfea", ["l.txt:1:1: is not valid UTF-16; save the file as UTF-8"], id="half a UTF-16 character"
    ),
    pytest.param("l.csv", b"PK\x03\x04...", [f"5:21: l.csv: {SPREADSHEET}"], id="an .xlsx that was renamed"),
    pytest.param("l.xls", b"\xd0\xcf\x11\xe0", [f"5:21: l.xls: {SPREADSHEET}"], id="an .xls"),
    pytest.param(
        "l.json",
        b"[{",
        ["l.json:1:1: is not valid JSON: Expecting property name enclosed in double quotes: line 1 column 3 (char 2)"],
        id="half a JSON file",
    ),
    pytest.param(
        "l.json", b'[{"Name": "a"}]', ["l.json:1:1: item 1 has no text under project_id or id"], id="JSON without IDs"
    ),
    pytest.param(
        "l.json",
        f'[\n {{"ID": "{HEX}"}},\n\n {{"ID": "{HEX}"}}, {{"ID": "a b"}},\r\n  "{HEX[:9]}"\n]'.encode(),
        [
            f"l.json:4:55: 'a b' contains {SPACE}{NAMES}",
            f"l.json:5:4: {CUT}",
        ],
        id="bad IDs in JSON",
    ),
    pytest.param(
        "l.json",
        f'["{HEX}",\n{{"Name": "a"}}]'.encode(),
        ["l.json:2:1: item 2 has no text under project_id or id"],
        id="JSON with an object without an ID",
    ),
    pytest.param(
        "l.json",
        f'["{HEX}"\n"{HEX}"]'.encode(),
        ["l.json:2:1: is not valid JSON: Expecting ',' delimiter: line 2 column 1 (char 36)"],
        id="JSON without a comma",
    ),
    pytest.param(
        "l.json",
        f'["{HEX}"]\n["{HEX}"]'.encode(),
        ["l.json:2:1: is not valid JSON: Extra data: line 2 column 1 (char 37)"],
        id="two JSON documents",
    ),
    pytest.param(
        "l.txt",
        b"+---+\n| Name |\n+---+\n| acme |\n+---+\n",
        ["l.txt:2:1: this table has no column project_id or ID"],
        id="a table with borders without IDs",
    ),
    pytest.param(
        "l.txt",
        f"+--+--+\n| ID | Name |\n+--+--+\n| {HEX} | acme |\n+--+--+\n2 rows\n".encode(),
        ["l.txt:6:1: is not a row of the table above; remove it, or print it with -f csv"],
        id="something below a table with borders",
    ),
    pytest.param(
        "l.txt",
        f"+--+--+\n| ID | Name |\n+--+--+\n| {HEX} |\n+--+--+\n".encode(),
        ["l.txt:4:1: has fewer columns than the table's heading; print it with -f csv"],
        id="a table with borders that lost a column",
    ),
    pytest.param(
        "l.csv",
        f"sep=;\n\nname;x\nacme;{HEX}\n".encode(),
        [
            "l.csv:3:1: this heading has a column of names, but none of IDs; add project_id, or write `as: name`",
        ],
        id="for Excel, without IDs",
    ),
    pytest.param(
        "l.txt", f"project_id\n{HEX}\n".encode(), [f"l.txt:1:1: 'project_id' {UNLIKE}"], id="a heading in a .txt"
    ),
    pytest.param(
        "l.txt",
        f"{HEX}\n{HEX[:-1]}".encode(),
        [
            f"l.txt:2:1: '{HEX[:-1]}' does not look like the other IDs of this list; "
            "it has 31 characters: is it cut off?"
        ],
        id="a cut last line",
    ),
    pytest.param(
        "l.txt",
        b"1.23E+31\n",
        ["l.txt:1:1: '1.23E+31' was rounded by a spreadsheet; format the column as text and export it again"],
        id="a rounded number",
    ),
    pytest.param(
        "l.txt",
        f"+-----+\n{HEX}\n".encode(),
        ["l.txt:1:1: '+-----+' is a line of a table, not an ID; remove it"],
        id="a table's rule",
    ),
    pytest.param("l.txt", f"{HEX}\n{HEX}\nteam-1\n".encode(), [f"l.txt:3:1: 'team-1' {UNLIKE}"], id="a name among IDs"),
    pytest.param(
        "l.txt",
        f"{HEX} {HEX}\n".encode(),
        [
            f"l.txt:1:33: '{HEX} {HEX[:26]}…' contains white space, which no ID may contain: give each ID its own "
            f"item or line{NAMES}"
        ],
        id="two IDs in a line",
    ),
    pytest.param(
        "l.csv",
        b"name;group\nfoo;abc\n",
        ["l.csv:1:1: this heading has a column of names, but none of IDs; add project_id, or write `as: name`"],
        id="names alone",
    ),
    pytest.param(
        "l.txt",
        b"\x7fELF\x02\x00\xff\xfe",
        ["l.txt:1:7: byte 0xff is not UTF-8; save the file as UTF-8"],
        id="a binary file",
    ),
    pytest.param(
        "l.csv",
        b"project_id\na\x00b\n",
        ["l.csv:2:2: 'a b' contains the invisible character U+0000 (a control character), which no ID may contain"],
        id="NUL",
    ),
    pytest.param(
        "l.csv",
        b'name,project_id\nfoo,a b\nbar\n,\n\nbaz,\n"multi\nline",q/q\n',
        [
            "l.csv:2:6: 'a b' contains white space, which no ID may contain: give each ID its own item or line"
            ". A list of names is {file: ..., as: name}",
            "l.csv:3:1: an ID can't be empty",
            "l.csv:6:1: an ID can't be empty",
            "l.csv:8:8: 'q/q' contains '/', which no ID may contain",
        ],
        id="bad cells",
    ),
    pytest.param(
        "l.csv",
        b'project_id\nok\n"abc\ndef\n',
        ["l.csv:3:1: is not valid CSV: unexpected end of data"],
        id="a quote that is not closed in a table",
    ),
    pytest.param(
        "l.csv",
        b'project_id\n"abc"d\n',
        ["l.csv:2:1: is not valid CSV: ',' expected after '\"'"],
        id="text after a quote",
    ),
    pytest.param(
        "l.csv",
        b"tenant-a\ntenant-b\n",
        [("l.csv:1:1: it is unclear whether this row is a heading; add a heading with the column project_id")],
        id="no heading that says",
    ),
    pytest.param(
        "l.txt",
        b"a/b\n" * 21,
        [
            *(f"l.txt:{n}:2: 'a/b' contains '/', which no ID may contain" for n in range(1, 21)),
            "l.txt:21: 1 more bad line from here on",
        ],
        id="one bad line too many",
    ),
    pytest.param(
        "l.txt",
        b"ok\n" + b"a/b\n" * 1022,
        [
            *(f"l.txt:{n}:2: 'a/b' contains '/', which no ID may contain" for n in range(2, 22)),
            "l.txt:22: 1,002 more bad lines from here on",
        ],
        id="many bad lines",
    ),
]


def problems_of(path: Path) -> list[str]:
    """Return what is wrong with a plan, in order; the plan's own problems without the file's name."""
    with pytest.raises(PlanError) as caught:
        load_plan(path)
    shown = [str(problem) for problem in caught.value.problems]
    return [line.removeprefix(f"{path}:").replace(f"{path.parent}/", "") for line in shown]


@pytest.mark.parametrize(("text", "problems"), GROUPS)
def test_groups(tmp_path: Path, text: str, problems: list[str]) -> None:
    """Groups that are not there, not used, or in themselves, and what is wrong inside of them."""
    path = tmp_path / "plan.yaml"
    path.write_bytes(text.encode())
    assert problems_of(path) == problems


@pytest.mark.parametrize(("written", "problem"), IDS)
def test_ids(tmp_path: Path, written: str, problem: str) -> None:
    """What no ID has in it, wherever in a plan the ID stands."""
    path = tmp_path / "plan.yaml"
    path.write_bytes(f"{HEAD}share:\n- images: [{written}]\n  projects: [p]\n  except: [{written}]\n".encode())
    assert problems_of(path) == [f"4:12: {problem}", f"6:12: {problem}"]


@pytest.mark.parametrize(("name", "content", "problems"), LISTS)
def test_lists(tmp_path: Path, name: str, content: bytes | None, problems: list[str]) -> None:
    """What is wrong with a list as a whole stands where the plan names it, the rest in the list."""
    path = tmp_path / "plan.yaml"
    path.write_bytes(f"{HEAD}share:\n- images: [a]\n  projects: [{{file: {name}}}]\n".encode())
    (tmp_path / "loop").symlink_to("loop")
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert [line.replace(str(tmp_path), "FOLDER") for line in problems_of(path)] == problems


def test_a_list_in_several_places(tmp_path: Path) -> None:
    """Its bad lines are reported once; a missing list is reported at each place that names it."""
    path = tmp_path / "plan.yaml"
    (tmp_path / "l.txt").write_text("a/b\n")
    both = "[{file: l.txt}, {file: ./l.txt}, {file: no.txt}]"
    path.write_text(f"{HEAD}share:\n- images: {both}\n  projects: {both}\n")
    assert problems_of(path) == [
        "4:51: no.txt: no such file",
        "5:53: no.txt: no such file",
        "l.txt:1:2: 'a/b' contains '/', which no ID may contain",
    ]


def test_groups_that_grow_like_aliases_of_aliases(tmp_path: Path) -> None:
    """Twelve groups of ten times the one before are not held in memory."""
    path = tmp_path / "plan.yaml"
    groups = "".join(f"    g{n}: [{f'{{group: g{n - 1}}}, ' * 10}]\n" for n in range(1, 13))
    path.write_text(
        f"{HEAD}groups:\n  projects:\n    g0: [p]\n{groups}share:\n- images: [i]\n  projects: [{{group: g12}}]\n"
    )
    (problem,) = problems_of(path)
    assert problem.endswith("the projects expand to more than 20,000,000 IDs here; use fewer")


@pytest.mark.parametrize("key", ["images", "projects", "except", "keep"])
def test_what_is_unlike_the_ids_beside_it(tmp_path: Path, key: str) -> None:
    """In each of an entry's lists, and with the place of the item."""
    entry = {"images": "[i]", "projects": "[p]", key: f"[{HEX}, team-1, {HEX.upper()}]"}
    path = tmp_path / "plan.yaml"
    path.write_text(f"{HEAD}share:\n- {{{', '.join(f'{name}: {items}' for name, items in entry.items())}}}\n")
    (problem,) = problems_of(path)
    assert problem.startswith("4:")
    assert problem.endswith(UNLIKE.replace("{file: l.txt, as: name}", "{name: ...}"))
    path.write_text(path.read_text().replace(", team-1", ""))
    load_plan(path)
