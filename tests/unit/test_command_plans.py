"""What is said to someone who has given a command and has no plan."""

from __future__ import annotations

import pytest
from rich.console import Console

from bulkshare.cli.members import ACCEPT, ADHOC
from bulkshare.model import Result
from bulkshare.operations import offboard, undo
from bulkshare.report import Summary, render_brief
from bulkshare.report.text import COMMAND_PLANS, HINTS, IN_A_COMMAND, awaiting, hint_for, named_plan

OF_A_PLAN = ("{plan}", "in the plan", "`except`", "prune: true", "--retry-failed", "on_quota", "accept_as")
ONLY_IN_A_PLAN = ("members_per_image", "prune_limit")  # no plan of a command has any


def test_names() -> None:
    """The names of the commands' plans are known; any other plan is named."""
    assert {ADHOC, ACCEPT, offboard.PLAN, undo.UNDO} == COMMAND_PLANS
    assert not any(map(named_plan, COMMAND_PLANS))
    assert named_plan("adhoc", "adhoc.yaml") == "adhoc.yaml"
    assert named_plan("golden") == "plan golden"


@pytest.mark.parametrize(
    "reason",
    [
        "the membership is not accepted",
        "3 of 2; the limit is the cloud's",
        "413: quota",
        "the project is the image's owner",
        "the image is private, and takes no members",
        "the image is deactivated, not active",
        "gave up after 6 attempts: 503",
    ],
)
def test_hints(reason: str) -> None:
    """None speaks of a plan."""
    hint = hint_for(reason, "")
    assert hint
    assert not any(word in hint for word in OF_A_PLAN), hint
    assert hint_for(reason, "plan golden") != "", reason


def test_each_advice_about_a_plan_is_known() -> None:
    """Whatever is replaced still stands in a text, and what is left of a plan no command's plan can have."""
    texts = [hint for _, hint in HINTS] + [awaiting(1), awaiting(2)]
    for about_a_plan, _ in IN_A_COMMAND:
        assert any(about_a_plan in text for text in texts), about_a_plan
    for _, hint in HINTS:
        for about_a_plan, about_a_command in IN_A_COMMAND:
            hint = hint.replace(about_a_plan, about_a_command)  # noqa: PLW2901  step by step
        assert "{plan}" not in hint or any(word in hint for word in ONLY_IN_A_PLAN), hint


def test_a_line_or_two() -> None:
    """Results that did not occur are left out."""
    summary = Summary("adhoc-1", "adhoc", {Result.SHARED: 1}, 2, 0, 0.1, cloud="prod", awaiting_acceptance=1, opened=1)
    console = Console(width=300, markup=False)
    with console.capture() as capture:
        console.print(render_brief(summary), crop=False)
    assert capture.get() == (
        "adhoc-1 on prod: 1 shared; 1 image made shared by this run; 2 requests, 0.1 s\n"
        "1 member has the member status pending: it can use the image by its ID, but won't see it in its image list; "
        "`--accept` accepts for it\n"
    )


@pytest.mark.parametrize("plan", sorted(COMMAND_PLANS - {ADHOC}))
def test_only_share_can_accept(plan: str) -> None:
    """An undo leaves members pending, and has no option for them."""
    console = Console(width=300, markup=False)
    with console.capture() as capture:
        console.print(render_brief(Summary(f"{plan}-1", plan, {Result.SHARED: 1}, 2, 0, 0.1, awaiting_acceptance=1)))
    assert "won't see it in its image list\n" in capture.get()


def test_a_command_that_found_nothing_to_do() -> None:
    """A line says so."""
    console = Console(width=300, markup=False)
    with console.capture() as capture:
        console.print(render_brief(Summary("accept-1", "accept", {}, 0, 0, 0.0, cloud="prod")), crop=False)
    assert capture.get() == "accept-1 on prod: nothing to do; 0 requests, 0.0 s\n"
