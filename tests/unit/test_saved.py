"""A saved plan is carried out exactly as `diff` showed it, or not at all."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from bulkshare.errors import CloudChangedError, UsageError
from bulkshare.model import (
    Account,
    Block,
    CheckProjects,
    Limits,
    Notify,
    NotifyOn,
    Orders,
    Plan,
    RetryPolicy,
    Want,
    Webhook,
    WebhookFormat,
)
from bulkshare.operations.results import CloudResult
from bulkshare.operations.saved_plan import SavedPart, is_saved, load_saved, require_unchanged, save
from bulkshare.plan.expand import expand, orders

if TYPE_CHECKING:
    from pathlib import Path

ACCOUNT = Account("prod", "eu-de", "https://image.example", "ursula", "images", "p-images")
TODO = (
    Block("image-1", ("a", "b"), Want.ACCEPTED),
    Block("image-1", ("c",), Want.REMOVE),
    Block("image-2", ("a",), Want.ACCEPTED | Want.ALREADY_MEMBER),
)
PLAN = Plan("golden", (), clouds=("prod",), limits=Limits(3, 2.0, 1, 0), retry=RetryPolicy(2, 0.1, 1.0))


def saved(folder: Path) -> Path:
    """Return the file of a saved plan."""
    path = folder / "saved.plan"
    labels = {"image-1": "ubuntu", "c": "team-c", "b": "", "other": "x"}
    wanted = {"image-1": Orders(prune=True, fill=True), "image-2": Orders(selected=True), "done": Orders(fill=True)}
    result = CloudResult("prod", ACCOUNT, todo=TODO, to_set_shared=("image-1",), labels=labels, orders=wanted)
    save(path, PLAN, [result])
    return path


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    """Pairs, wants, orders, limits, endpoint and project are the same; no selectors are resolved again."""
    path = saved(tmp_path)
    assert is_saved(path.read_bytes())
    loaded = load_saved(path, path.read_bytes())
    one, two = frozenset({"image-1"}), frozenset({"image-2"})
    assert loaded.parts == (SavedPart("prod", ACCOUNT.endpoint, ACCOUNT.project_id, TODO, one, fill=one, selected=two),)
    plan = loaded.plan
    assert (plan.name, plan.clouds, plan.limits, plan.retry) == ("golden", ("prod",), PLAN.limits, PLAN.retry)
    assert plan.check_projects is CheckProjects.NEVER
    assert plan.names == {"image-1": "ubuntu", "c": "team-c"}
    assert list(expand(plan)) == [
        Block("image-1", ("a", "b"), Want.ACCEPTED),
        Block("image-1", ("c",), Want.REMOVE),
        Block("image-2", ("a",), Want.ACCEPTED),
    ]
    assert orders(plan, selected=loaded.parts[0].selected) == {
        "image-1": Orders(make_shared=True, fill=True),  # what pruning removes is among the pairs
        "image-2": Orders(selected=True),
    }


@pytest.mark.parametrize(
    "notify",
    [
        Notify(("tell", "-x")),
        Notify((), Webhook(from_env="A"), WebhookFormat.SLACK, frozenset({NotifyOn.FAILURE, NotifyOn.CHANGE}), 5.5),
        Notify(("tell",), Webhook(file="/etc/webhook"), WebhookFormat.ALERTMANAGER),
    ],
)
def test_who_is_told_is_read_back(notify: Notify, tmp_path: Path) -> None:
    """A saved plan tells as the plan does, and a damaged one is none."""
    path = tmp_path / "saved.plan"
    save(path, replace(PLAN, notify=notify), [CloudResult("prod", ACCOUNT, todo=TODO)])
    document = json.loads(path.read_bytes())
    assert load_saved(path, path.read_bytes()).plan.notify == notify
    wrong: tuple[tuple[str, Any], ...] = (
        ("command", "tell"),
        ("command", [1]),
        ("webhook", {"from_env": 1, "file": None}),
        ("format", "teams"),
        ("on", ["never"]),
        ("timeout_seconds", 0),
        ("timeout_seconds", "5"),
    )
    for key, value in wrong:
        damaged = json.dumps({**document, "notify": {**document["notify"], key: value}}).encode()
        with pytest.raises(UsageError, match="damaged"):
            load_saved(path, damaged)


def test_a_plan_in_yaml_is_not_a_saved_plan(tmp_path: Path) -> None:
    """Neither is an empty file."""
    path = tmp_path / "plan.yaml"
    path.write_text("version: 1\nname: golden\n")
    assert not is_saved(path.read_bytes())
    assert not is_saved(b"")


def test_images_that_want_the_same_are_together(tmp_path: Path) -> None:
    """A product of images and projects takes a line for each image and each project, not for each pair."""
    path, members = tmp_path / "saved.plan", tuple(f"p{number}" for number in range(500))
    todo = tuple(Block(f"i{number}", members) for number in range(2000))
    save(path, PLAN, [CloudResult("prod", ACCOUNT, todo=todo)])
    assert path.stat().st_size < 100_000
    assert load_saved(path, path.read_bytes()).parts[0].todo == todo


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"bulkshare_saved_plan": 2}', "another version"),
        ('{"bulkshare_saved_plan": 3}', "damaged"),
        ('{"bulkshare_saved_plan": 3, "parts"', "damaged"),
        ("[]", "damaged"),
    ],
)
def test_an_unusable_file_is_reported(tmp_path: Path, content: str, message: str) -> None:
    """The message says what to do."""
    path = tmp_path / "saved.plan"
    path.write_text(content)
    with pytest.raises(UsageError, match=rf"{message}.*bulkshare diff"):
        load_saved(path, path.read_bytes())


def test_the_same_pairs_in_another_order_are_unchanged() -> None:
    """Neither order nor grouping into blocks matters."""
    part = SavedPart("prod", "e", "p", TODO)
    other = (*TODO[1:], Block("image-1", ("b",), Want.ACCEPTED), Block("image-1", ("a",), Want.ACCEPTED))
    require_unchanged(part, replace(part, todo=other))


@pytest.mark.parametrize(
    "todo",
    [
        TODO[1:],
        (*TODO, Block("image-3", ("a",))),
        (Block("image-1", ("a", "b"), Want.ACCEPTED | Want.ALREADY_MEMBER), *TODO[1:]),
    ],
)
def test_a_cloud_that_has_changed_is_reported(todo: tuple[Block, ...]) -> None:
    """One pair less, one more, or one that was shared meanwhile: the message names pairs, and nothing is sent."""
    with pytest.raises(CloudChangedError, match=r"has changed since .*: image image-\d project [ab].*nothing was sent"):
        require_unchanged(SavedPart("prod", "e", "p", TODO), SavedPart("prod", "e", "p", todo))


def test_an_image_that_can_no_longer_be_listed_is_reported() -> None:
    """It may be gone, or a fault hides who is a member: what would be sent is not what was shown."""
    saved, now = (SavedPart("prod", "e", "p", TODO, unlisted=frozenset(ids)) for ids in (["image-1"], ["image-2"]))
    with pytest.raises(CloudChangedError, match=r"can't check .*: the members of image image-2 can't be listed now; n"):
        require_unchanged(saved, now)
    require_unchanged(saved, saved)
    changed = replace(now, todo=TODO[:1])  # what has changed is said, not what may have
    with pytest.raises(CloudChangedError, match=r"has changed since .*: image image-[^2] project \w;"):
        require_unchanged(saved, changed)


@pytest.mark.parametrize("now", [frozenset(), frozenset({"image-1", "image-2"})])
def test_an_image_that_has_become_private_or_shared_is_reported(now: frozenset[str]) -> None:
    """Exactly the images that were shown are made shared."""
    part = SavedPart("prod", "e", "p", TODO, frozenset({"image-1"}))
    with pytest.raises(CloudChangedError, match=r"has changed since .*: image image-\d visibility; nothing was sent"):
        require_unchanged(part, replace(part, make_shared=now))


def test_another_project_is_reported() -> None:
    """What was shown for the images of one project is not done to those of another."""
    with pytest.raises(UsageError, match="is for project p at e, and this is project q at e"):
        require_unchanged(SavedPart("prod", "e", "p", TODO), SavedPart("prod", "e", "q", TODO))
