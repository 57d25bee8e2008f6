"""Changes and comparisons as Markdown and as JSON with a schema, for merge requests and programs."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from bulkshare.model import Outcome, Result, Want
from bulkshare.report import (
    Changes,
    Comparison,
    Look,
    changes_document,
    changes_of,
    comparison_document,
    render_comparisons_markdown,
    render_markdown,
    versioned,
)
from bulkshare.report.markdown import MOST_CHARACTERS, MOST_OPEN
from bulkshare.report.schemas import (
    DOCUMENTS,
    CloudChangesDocument,
    CloudComparisonDocument,
    ImageChangesDocument,
    document_schema,
)
from bulkshare.text import escaped

if TYPE_CHECKING:
    from pydantic import BaseModel

READER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
IN_A_CELL = 3  # the level of the cell of a table
NASTY = st.text(st.sampled_from("|`\\<>&*_[]()!#@~$:\n\r\t\x1b\u202e -.ab1é"), max_size=12) | st.sampled_from(
    ["</details>", "<script>x</script>", "@everyone", "a|b", "``", "\\|", "`|`", "![x](http://x)", "www.x.de", "--"]
)


def changes(members: list[str], reason: str = "403: no", **more: Any) -> Changes:
    """Return changes of each kind, with these members of one image to be added."""
    outcomes = [
        *(Outcome("golden", member_id, Result.PENDING) for member_id in members),
        Outcome("golden", "waiting", Result.PENDING, want=Want.ACCEPTED | Want.ALREADY_MEMBER),
        Outcome("golden", "gone", Result.PENDING, want=Want.REMOVE),
        Outcome("golden", "owner", Result.SKIPPED, reason=reason),
        Outcome("closed", "new", Result.PENDING),
        Outcome("away", "p1", Result.PENDING),
    ]
    unlisted = {"away": "gave up: 503", "closed": "403: private"}
    return changes_of("nightly", outcomes, unlisted=unlisted, to_set_shared=["closed"], cloud="prod", **more)


def cells(text: str) -> list[list[str]]:
    """Return the rows of all tables as a reader of Markdown shows them: the text of each cell."""
    rows: list[list[str]] = []
    for token in READER.parse(text):
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline" and token.level > IN_A_CELL:
            shown = (child.content for child in token.children or () if child.type in {"text", "code_inline"})
            rows[-1].append("".join(shown))
    return rows


@given(st.lists(NASTY, min_size=3, max_size=3))
def test_no_text_of_others_leaves_its_cell(texts: list[str]) -> None:
    """Names and reasons are shown as they are; whatever they hold, no row gets another cell, and no tag is made."""
    project, image, reason = texts
    labels = {"new-1": project, "golden": image}
    text = render_markdown([Look(changes(["new-1"], reason=reason), labels, account=project)])
    found = cells(text)
    (added,) = [row for row in found if "new-1" in row]
    assert added == ["+ add", "new-1", escaped(project)]
    (refused,) = [row for row in found if "owner" in row]
    assert refused == ["golden", escaped(image), "owner", "", escaped(reason)]
    tags = {"<b>", "</b>", "<code>", "</code>", "<details>", "</details>", "<summary>", "</summary>"}
    for token in READER.parse(text):
        inline = [child.content for child in token.children or () if child.type == "html_inline"]
        assert set(inline) <= tags
        assert not {child.type for child in token.children or ()} & {"link_open", "image", "em_open", "s_open"}


def test_trouble_comes_first_and_what_was_not_checked_last() -> None:
    """Counts stand above the images; what a reviewer must not miss stands above both."""
    text = render_markdown([Look(changes(["new"]), {"golden": "ubuntu-24.04"}, "user u of project p")])
    parts = ["2 to add", "Can't be done", "Unknown", "1 member of 1 image would be removed", "Counts", "Image", "Not "]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert "| `prod` | 2 | 1 | 0 | 0 | 1 | 1 | 1 | 1 | 0 |" in text
    assert "Looked at `prod` as `user u of project p`. Not checked: what changes between this look and the run." in text


@pytest.mark.parametrize("rows", [MOST_OPEN - 2, MOST_OPEN - 1])
def test_long_tables_are_folded(rows: int) -> None:
    """A table of more than 50 rows is; one of 50 is not."""
    text = render_markdown([Look(changes([f"p{number}" for number in range(rows)]))])
    assert ("<details><summary><b>Image</b> <code>golden</code>: 51 rows</summary>\n\n|" in text) == (rows > 48)


def test_a_comment_has_room_for_it_unless_all_is_asked_for() -> None:
    """What is left out is counted, and `--all` has it."""
    members = [f"{number:032}" for number in range(3000)]
    looks = [Look(changes(members))]
    text = render_markdown(looks)
    assert len(text) < MOST_CHARACTERS + 1000
    (left_out,) = re.findall(r"and ([\d,]+) more rows, left out here; `bulkshare diff --all", text)
    whole = render_markdown(looks, everything=True)
    assert "left out" not in whole
    assert len(cells(whole)) - len(cells(text)) in range(
        int(left_out.replace(",", "")), int(left_out.replace(",", "")) + 2
    )


def test_several_clouds_and_one_that_was_not_reached() -> None:
    """Each has its line and its row; one of which nothing is known is not said to agree."""
    gone = Changes("nightly", (), cloud="south", incomplete="the endpoint is down")
    text = render_markdown([Look(changes(["new"])), Look(gone)])
    assert "`south`: **Not known: the cloud was not read as a whole.**" in text
    assert "<b>Incomplete on <code>south</code>:</b> `the endpoint is down`" in text
    assert "<b>Image</b> <code>golden</code> on <code>prod</code>" in text


COMPARED = Comparison(
    "nightly",
    3,
    1,
    {"golden": ["a", "b|c"]},
    {"golden": ["x"]},
    {"accepted": 1},
    {"away": "403"},
    {"a": "team"},
    "prod",
)


def test_a_comparison_is_markdown_too() -> None:
    """What is missing and what is extra, by image, and the counts."""
    text = render_comparisons_markdown([COMPARED])
    found = cells(text)
    assert ["golden", "", "a", "team"] in found
    assert ["golden", "", "b|c", ""] in found
    assert ["prod", "3", "1", "2", "1", "1"] in found


@pytest.mark.parametrize("several", [False, True])
def test_documents_fit_their_schemas(several: bool) -> None:  # noqa: FBT001  a parameter of the test
    """Each key is in the schema, and of its type; the schema is one for programs, with a version."""
    found = {"diff": changes_document(changes(["new"]), {"new": "team"}), "verify": comparison_document(COMPARED)}
    models: dict[str, type[BaseModel]] = {"diff": CloudChangesDocument, "verify": CloudComparisonDocument}
    for command, document in found.items():
        whole = json.loads(json.dumps(versioned([document] * (1 + several), several=several)))
        assert whole["version"] == 1
        DOCUMENTS[command].model_validate(whole, strict=True)
        assert set(document) == set(models[command].model_fields)
        schema = document_schema(command)
        assert schema["$schema"].startswith("https://json-schema.org/")
        assert json.dumps(schema).count('"const": 1') >= 2
    assert set(found["diff"]["images"][0]) == set(ImageChangesDocument.model_fields)
