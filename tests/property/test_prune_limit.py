"""The prune limit against exact fractions, for any text and any number of members."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkshare.engine.preflight import Facts, OverPruneLimit, findings
from bulkshare.model import Orders, PruneLimit

HUNDREDTHS = st.integers(0, 10_000)  # of a percent
FLOORS = st.integers(0, 1000)


@st.composite
def texts(draw: st.DrawFn) -> tuple[str, Fraction, int]:
    """Draw a text, the share that it stands for, and the minimum."""
    if draw(st.booleans()):
        number = draw(FLOORS)
        return f"{number}{draw(st.sampled_from(['', ' members']))}", Fraction(0), number
    hundredths = draw(HUNDREDTHS)
    share = Fraction(hundredths, 10_000)
    percent = f"{Decimal(hundredths) / 100}{draw(st.sampled_from(['', ' ']))}%"
    text = draw(st.sampled_from([percent, f"{Decimal(hundredths) / 10_000:.4f}"]))
    if draw(st.booleans()):
        return text, share, 0
    floor = draw(FLOORS)
    return f"{text}{draw(st.sampled_from([', ', ' ']))}at least {floor}", share, floor


@given(texts(), st.integers(0, 100_000))
def test_what_a_limit_allows(written: tuple[str, Fraction, int], members: int) -> None:
    """The share of the members, rounded down, but at least the minimum; and as text it is the same limit."""
    text, share, floor = written
    limit = PruneLimit.parse(text)
    assert limit.allowed(members) == max(share * members // 1, floor)
    assert PruneLimit.parse(str(limit)) == limit


@given(st.lists(texts(), max_size=3), st.integers(0, 300), st.integers(1, 300))
def test_removals_are_allowed_by_each_limit_or_forbidden(
    written: list[tuple[str, Fraction, int]], members: int, to_remove: int
) -> None:
    """An image over any of its limits loses no member, and the reason names the strictest with what it allows."""
    orders = Orders(prune=True, prune_limits=tuple(PruneLimit.parse(text) for text, _, _ in written))
    found = findings(Facts("i", members=members, to_remove=to_remove), orders, None, members_per_image=0)
    least = min((max(share * members // 1, floor) for _, share, floor in written), default=to_remove)
    if to_remove <= least:
        assert found == []
        return
    (finding,) = found
    assert isinstance(finding, OverPruneLimit)
    assert finding.reason.startswith(f"{to_remove} of {members} members would be removed; ")
    assert finding.reason.endswith(f" allows {least}")


@given(texts(), st.integers(0, 1000), st.data())
def test_removals_that_were_allowed_stay_so(
    written: tuple[str, Fraction, int], members: int, data: st.DataObject
) -> None:
    """A run that goes on after some of them may remove the rest."""
    limit = PruneLimit.parse(written[0])
    to_remove = data.draw(st.integers(0, min(limit.allowed(members), members)))
    removed = data.draw(st.integers(0, to_remove))
    assert to_remove - removed <= limit.allowed(members - removed)


@pytest.mark.parametrize(
    ("text", "limit", "shown"),
    [
        ("10%", PruneLimit(), "10%"),
        ("0.1", PruneLimit(), "10%"),
        (" 12.5 % , at least 2 members ", PruneLimit(0.125, 2), "12.5%, at least 2"),
        ("1", PruneLimit(0.0, 1), "1"),
        ("1.0", PruneLimit(1.0), "100%"),
        ("0", PruneLimit(0.0), "0%"),
        ("0%", PruneLimit(0.0), "0%"),
        ("5 members", PruneLimit(0.0, 5), "5"),
        ("0%, at least 1", PruneLimit(0.0, 1), "1"),
    ],
)
def test_texts(text: str, limit: PruneLimit, shown: str) -> None:
    """A whole number is one of members, a fraction a share of them."""
    assert PruneLimit.parse(text) == limit
    assert str(limit) == shown


@pytest.mark.parametrize(
    "text", ["", "%", "ten", "-1", "-1%", "101%", "1.5", "10%,", "10%, 1", "at least 1", "5, at least 1", "1e1%", "٣%"]
)
def test_texts_that_are_none(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match="write a percentage"):
        PruneLimit.parse(text)
