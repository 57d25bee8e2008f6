"""The grammar of the sandbox's faults, and how often they strike."""

from __future__ import annotations

from random import Random

import pytest

from bulkshare.sandbox import FaultRule
from bulkshare.sandbox.faults import Effect, Faults


def chance(seed: int = 0) -> Random:
    """Return chance that is the same every time."""
    return Random(seed)  # repeatable on purpose, and guards nothing


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("POST members 503 10%", FaultRule("POST", "members", Effect.STATUS, 10, status=503)),
        ("post Members 504-AFTER 0.5%", FaultRule("POST", "members", Effect.STATUS, 0.5, status=504, done=True)),
        ("ANY any reset 100%", FaultRule("ANY", "any", Effect.RESET, 100)),
        ("  POST  tokens  reset-after 1% ", FaultRule("POST", "tokens", Effect.RESET, 1, done=True)),
        ("GET member hang 1%", FaultRule("GET", "member", Effect.HANG, 1)),
        ("GET images truncate 0%", FaultRule("GET", "images", Effect.TRUNCATE, 0, done=True)),
        (
            "POST members 429 5% retry-after=2 times=3",
            FaultRule("POST", "members", Effect.STATUS, 5, status=429, retry_after_seconds=2, times=3),
        ),
        ("POST members 200 5% times=1", FaultRule("POST", "members", Effect.STATUS, 5, status=200, times=1)),
    ],
)
def test_rules_that_make_sense(text: str, rule: FaultRule) -> None:
    """Case and white space don't matter."""
    assert FaultRule.parse(text) == rule


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is not complete"),
        ("POST members 503", "is not complete"),
        ("SEND members 503 10%", "names the method 'SEND'; known are GET, POST"),
        ("POST nonsense 503 10%", "names the target 'nonsense'; known are members, member, images"),
        ("POST members explode 10%", "names the effect 'explode'; known are a status"),
        ("POST members 600 10%", "names the effect '600'"),
        ("POST members 199 10%", "names the effect '199'"),
        ("POST members hang-after 10%", "names the effect 'hang-after'"),
        ("POST members 503 10", "has '10' instead of a percentage"),
        ("POST members 503 101%", "has '101%' instead of a percentage"),
        ("POST members 503 -1%", "has '-1%' instead of a percentage"),
        ("POST members 503 nan%", "has 'nan%' instead of a percentage"),
        ("POST members 503 10% retry-after=soon", "ends with 'retry-after=soon'"),
        ("POST members 503 10% often=1", "ends with 'often=1'"),
        ("POST members 503 10% 20%", "ends with '20%'"),
        ("POST members reset 10% retry-after=2", "has no response that could carry retry-after"),
    ],
)
def test_rules_that_make_none(text: str, complaint: str) -> None:
    """Each is refused with a sentence that names the rule and what is wrong with it."""
    with pytest.raises(ValueError, match=r"^The fault ") as caught:
        FaultRule.parse(text)
    assert complaint in str(caught.value)
    assert repr(text) in str(caught.value)


def test_a_rule_strikes_only_what_it_names() -> None:
    """Method and target; ANY and any mean all, and the first rule that strikes counts."""
    post, everything = FaultRule.parse("POST members 503 100%"), FaultRule.parse("ANY any 500 100%")
    faults = Faults([post, everything], chance())
    assert faults.draw("POST", "members") is post
    assert faults.draw("GET", "members") is everything
    assert faults.draw("POST", "member") is everything
    assert Faults([post], chance()).draw("POST", "tokens") is None


def test_a_rule_strikes_as_often_as_it_says() -> None:
    """0% never, 100% always, and in between alike for the same seed."""

    def struck(percent: str, seed: int) -> list[bool]:
        faults = Faults([FaultRule.parse(f"ANY any 503 {percent}")], chance(seed))
        return [faults.draw("GET", "images") is not None for _ in range(2000)]

    assert not any(struck("0%", 0))
    assert all(struck("100%", 0))
    assert 150 < sum(struck("10%", 1)) < 250  # 2,000 draws of a fixed seed: always the same number
    assert struck("10%", 1) == struck("10%", 1) != struck("10%", 2)


def test_a_rule_can_run_out() -> None:
    """After its times the next rule has its turn, then none."""
    rules = [FaultRule.parse("ANY any 503 100% times=2"), FaultRule.parse("ANY any 500 100% times=1")]
    faults = Faults(rules, chance())
    assert [faults.draw("GET", "images") for _ in range(4)] == [rules[0], rules[0], rules[1], None]
