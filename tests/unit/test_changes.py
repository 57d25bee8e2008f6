"""What a run would change, reported in advance."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rich.console import Console

from bulkshare.model import Outcome, Result, Want
from bulkshare.report import Changes, changes_document, changes_of, render_changes
from bulkshare.report.changes import MOST_IMAGES, MOST_PAIRS

ACCEPT = Want.ACCEPTED
OUTCOMES = [
    Outcome("golden", "new", Result.PENDING),
    Outcome("golden", "new-accepted", Result.PENDING, want=ACCEPT),
    Outcome("golden", "waiting", Result.PENDING, want=ACCEPT | Want.ALREADY_MEMBER),
    Outcome("golden", "gone", Result.PENDING, want=Want.REMOVE),
    Outcome("golden", "owner", Result.SKIPPED, reason="the project is the image's owner"),
    Outcome("closed", "new", Result.PENDING),
    Outcome("away", "p1", Result.PENDING),
    Outcome("away", "p2", Result.PENDING),
]


def changes() -> Changes:
    """Return changes of every kind."""
    return changes_of(
        "nightly",
        OUTCOMES,
        unlisted={"away": "gave up after 6 attempts: 503", "closed": "403: Only shared images have members."},
        to_set_shared=["closed"],
        as_planned=7,
        cloud="prod",
    )


def printed(what: Changes, labels: dict[str, str] | None = None, *, everything: bool = False, width: int = 200) -> str:
    """Return what a console without a terminal prints."""
    console = Console(width=width, markup=False)
    with console.capture() as capture:
        console.print(render_changes(what, labels, everything=everything), crop=False)
    return capture.get()


SHOWN = """\
image golden  ubuntu-24.04
  + new                       team-a
  + new-accepted  and accept
  ~ waiting  accept
  - gone
image closed
  ~ private, will be made shared
  + new  team-a
Can't be done:
image golden  ubuntu-24.04
  1 pair: the project is the image's owner
  -> a project can always use its own images: leave it out with `except`
    ! owner
Unknown:
image away
  2 pairs: gave up after 6 attempts: 503
  -> the cloud was failing: try again later; --retry-failed limits a run of plan nightly to what is left
Plan: 3 to add, 2 to accept, 1 to remove, 1 image to be made shared. Can't be done: 1 pair. \
Unknown: 2 pairs, because 1 image can't be listed.
"""


def test_changes_are_grouped_by_image() -> None:
    """Signs as Terraform's, trouble after what can be done, one line that sums up."""
    assert printed(changes(), {"golden": "ubuntu-24.04", "new": "team-a"}) == SHOWN


@pytest.mark.parametrize("width", [60, 80, 100])
def test_narrow_terminals_get_all_of_it(width: int) -> None:
    """Prose is wrapped, and nothing is left out or padded."""
    text = printed(changes(), {"golden": "ubuntu-24.04", "new": "team-a"}, width=width)
    assert text.split() == SHOWN.split()
    assert all(len(line) <= width and line == line.rstrip() for line in text.splitlines())


def test_document() -> None:
    """Each list is of one kind of request; names stand for the IDs that occur."""
    document = changes_document(changes(), {"golden": "ubuntu-24.04", "not-in-it": "other"})
    json.dumps(document)
    images = document.pop("images")
    assert document == {
        "plan": "nightly",
        "cloud": "prod",
        "changes": True,
        "add": 3,
        "accept": 2,
        "decline": 0,
        "reset": 0,
        "remove": 1,
        "make_shared": 1,
        "refused": 1,
        "unknown": 2,
        "as_planned": 7,
        "incomplete": None,
        "not_checked": [],
        "names": {"golden": "ubuntu-24.04"},
    }
    assert images[0] == {
        "image_id": "golden",
        "make_shared": False,
        "add": ["new", "new-accepted"],
        "accept": ["new-accepted", "waiting"],
        "decline": [],
        "reset": [],
        "remove": ["gone"],
        "refused": {"the project is the image's owner": ["owner"]},
        "unlisted": None,
        "unknown": [],
    }
    assert (images[1]["make_shared"], images[1]["add"], images[1]["unlisted"]) == (True, ["new"], None)
    assert (images[2]["add"], images[2]["unknown"]) == ([], ["p1", "p2"])


def test_what_can_not_be_accepted_is_known_in_advance() -> None:
    """The project is added all the same, unless it is a member already; the reason is the run's."""
    outcomes = [
        Outcome("i", "new", Result.PENDING, want=ACCEPT | Want.AS_PROJECT),
        Outcome("i", "there", Result.PENDING, want=ACCEPT | Want.AS_PROJECT | Want.ALREADY_MEMBER),
        Outcome("i", "self", Result.PENDING, want=ACCEPT),
        Outcome("i", "fine", Result.PENDING, want=ACCEPT | Want.AS_PROJECT),
        Outcome("i", "plain", Result.PENDING),
    ]
    refusals = {(True, "new"): "no role", (True, "there"): "no role", (False, "self"): "no admin", (False, "new"): "x"}
    found = changes_of("nightly", outcomes, unlisted={}, not_acceptable=refusals)
    (image,) = found.images
    assert (image.add, image.accept) == (["new", "self", "fine", "plain"], ["fine"])
    assert image.refused == {
        "shared, but not accepted: no role": ["new", "there"],
        "shared, but not accepted: no admin": ["self"],
    }
    assert "Can't be done: 3 pairs." in printed(found)


def test_no_changes() -> None:
    """Nothing to do is one line."""
    nothing = changes_of("nightly", [], unlisted={})
    assert not nothing.any
    assert printed(nothing) == "No changes: the cloud agrees with the plan.\n"


def test_heading_for_one_cloud_of_several() -> None:
    """Plan and cloud come first where that is asked for."""
    console = Console(width=80, markup=False)
    with console.capture() as capture:
        console.print(render_changes(changes_of("nightly", [], unlisted={}, cloud="eu-de"), heading=True))
    assert capture.get().splitlines()[0] == "nightly on eu-de"


def test_trouble_alone_is_no_agreement() -> None:
    """If images can't be listed, the report doesn't claim that the cloud agrees."""
    away = changes_of("nightly", OUTCOMES[-1:], unlisted={"away": "503"})
    assert not away.any
    assert printed(away).splitlines()[-1] == (
        "Plan: nothing to change. Unknown: 1 pair, because 1 image can't be listed."
    )


def test_long_lists_are_cut_with_a_count() -> None:
    """Of pairs and of images; all of them where that is asked for."""
    many = changes_of(
        "nightly", [Outcome(f"i{i}", f"p{p}", Result.PENDING) for i in range(30) for p in range(290)], unlisted={}
    )
    text = printed(many)
    assert "  + ... and 280 more\n" in text
    assert "... and 10 more images\nPlan: 8,700 to add.\n" in text
    assert len(printed(many, everything=True).splitlines()) == 30 * 291 + 1


class CountedLabels(dict[str, str]):
    """Labels that count how often one is looked up."""

    lookups = 0

    def get(self, key: str, default: Any = None) -> Any:
        """Count a look-up."""
        self.lookups += 1
        return super().get(key, default)


def test_a_project_refused_everywhere_is_one_line() -> None:
    """Not one at each image; what is refused for one image alone stands there, and with `everything` all of it."""
    outcomes = [Outcome(i, m, Result.SKIPPED, reason="no such project") for i in "ijk" for m in ("gone", "lost")]
    found = changes_of("nightly", [*outcomes, Outcome("j", "p", Result.SKIPPED, reason="no")], unlisted={})
    assert printed(found, {"lost": "acme"}) == (
        "Can't be done:\n"
        "  6 pairs: no such project\n"
        "    ! lost  3 images  acme\n"
        "    ! gone  3 images\n"
        "image j\n"
        "  1 pair: no\n"
        "    ! p\n"
        "Plan: nothing to change. Can't be done: 7 pairs.\n"
    )
    assert printed(found, everything=True).count("! gone\n") == 3


def test_images_and_projects_are_sorted_by_name() -> None:
    """Those without a name follow, in the order of the ledger; so it is all of them if no name is known."""
    found = changes_of("nightly", [Outcome(i, m, Result.PENDING) for i in "ij" for m in "pqrs"], unlisted={})
    names = {"j": "alma", "i": "Debian", "r": "Acme", "q": "beta", "s": "acme"}
    ids = [line.split()[1] for line in printed(found, names).splitlines()[:10]]
    assert ids == ["j", "r", "s", "q", "p", "i", "r", "s", "q", "p"]
    assert [line.split()[1] for line in printed(found, {}).splitlines()[:10]] == [*"ipqrs", *"jpqrs"]


def test_rendering_costs_what_is_shown() -> None:
    """Of many images only those that are shown are rendered, and the outcomes may come from an iterator.

    To sort by name, each image's name is looked up, and those of the members of the images that are shown.
    """
    outcomes = (Outcome(f"i{i}", f"m{m}", Result.PENDING, want=ACCEPT) for i in range(200) for m in range(20))
    found = changes_of("nightly", outcomes, unlisted={})
    labels = CountedLabels(i0="first")
    assert "... and 180 more images" in printed(found, labels)
    assert 0 < labels.lookups <= 200 + MOST_IMAGES * (20 + MOST_PAIRS + 1)
