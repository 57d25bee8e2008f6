"""The faults the sandbox can be told to have: what to break, how, and how often. Chance is injected.

The grammar of a rule, one line:

    METHOD TARGET EFFECT PERCENT% [retry-after=SECONDS] [times=N]

    METHOD   GET, POST, PUT, DELETE, PATCH, HEAD, or ANY
    TARGET   members (/v2/images/{id}/members), member (one of them), images (all, or one), tokens (log-ins),
             projects (Keystone's: all, one's own, or one), any
    EFFECT   503 or another status from 200 to 599: that answer, and nothing is done. From 200 to 399 it is the page of
                         some proxy in between, above it is worded as the service itself does
             503-after   the request is done, then answered so
             reset       the connection is cut, and nothing is done
             reset-after the request is done, then the connection is cut
             truncate    the request is done, and half of the answer's body is sent as if it were all
             hang        there is no answer, and nothing is done
    PERCENT  of the requests, 0 to 100, drawn anew for each
    retry-after  a header Retry-After with an answer of a status
    times        at most so often; without it, without end

`POST members 503 10% retry-after=2` or `POST members reset-after 100% times=1`. The first rule that strikes counts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "ANY")
TARGETS = ("members", "member", "images", "tokens", "projects", "any")
OPTIONS = ("retry-after", "times")
GRAMMAR = "METHOD TARGET EFFECT PERCENT% [retry-after=SECONDS] [times=N]"


class Effect(Enum):
    """What happens instead of a proper answer."""

    STATUS = "status"
    RESET = "reset"
    TRUNCATE = "truncate"
    HANG = "hang"


@dataclass(frozen=True, slots=True)
class FaultRule:
    """One kind of fault. `done` says that the request takes effect all the same."""

    method: str
    target: str
    effect: Effect
    percent: float
    status: int = 0
    done: bool = False
    retry_after_seconds: int | None = None
    times: int | None = None

    @classmethod
    def parse(cls, text: str) -> FaultRule:
        """Read a rule in the grammar of this module. Raises `ValueError` with a sentence that says what is wrong."""
        words = text.split()
        if len(words) < 4:
            raise ValueError(f"The fault {text!r} is not complete: it takes {GRAMMAR}.")
        method, target, effect, percent, *options = words
        if method.upper() not in METHODS:
            raise ValueError(f"The fault {text!r} names the method {method!r}; known are {', '.join(METHODS)}.")
        if target.lower() not in TARGETS:
            raise ValueError(f"The fault {text!r} names the target {target!r}; known are {', '.join(TARGETS)}.")
        kind, status, done = _read_effect(text, effect.lower())
        known = _read_options(text, options)
        if kind is not Effect.STATUS and "retry-after" in known:
            raise ValueError(f"The fault {text!r} has no answer that could carry retry-after; only a status has one.")
        return cls(
            method=method.upper(),
            target=target.lower(),
            effect=kind,
            percent=_read_percent(text, percent),
            status=status,
            done=done,
            retry_after_seconds=known.get("retry-after"),
            times=known.get("times"),
        )

    def fits(self, method: str, target: str) -> bool:
        """Whether the rule is about such a request."""
        return self.method in {method, "ANY"} and self.target in {target, "any"}


class Faults:
    """Rules at work: draws for each request, and counts what struck."""

    def __init__(self, rules: Sequence[FaultRule], chance: Random) -> None:
        self._rules = tuple(rules)
        self._struck = [0] * len(rules)
        self._chance = chance

    def draw(self, method: str, target: str) -> FaultRule | None:
        """Return the rule that strikes this request, if one does."""
        for number, rule in enumerate(self._rules):
            used_up = rule.times is not None and self._struck[number] >= rule.times
            if not used_up and rule.fits(method, target) and self._chance.random() * 100 < rule.percent:
                self._struck[number] += 1
                return rule
        return None


def _read_effect(text: str, effect: str) -> tuple[Effect, int, bool]:
    if effect in {"reset", "reset-after"}:
        return Effect.RESET, 0, effect == "reset-after"
    if effect == "truncate":
        return Effect.TRUNCATE, 0, True
    if effect == "hang":
        return Effect.HANG, 0, False
    found = re.fullmatch(r"([2-5][0-9]{2})(-after)?", effect)
    if found is None:
        known = "a status from 200 to 599, such a status with -after, reset, reset-after, truncate, hang"
        raise ValueError(f"The fault {text!r} names the effect {effect!r}; known are {known}.")
    return Effect.STATUS, int(found[1]), found[2] is not None


def _read_percent(text: str, word: str) -> float:
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)%", word)
    if found is None or float(found[1]) > 100:
        raise ValueError(f"The fault {text!r} has {word!r} where a percentage from 0% to 100% belongs.")
    return float(found[1])


def _read_options(text: str, words: Sequence[str]) -> dict[str, int]:
    options = {}
    for word in words:
        name, _, value = word.partition("=")
        if name not in OPTIONS or not value.isdecimal():
            raise ValueError(f"The fault {text!r} ends with {word!r}; known are retry-after=SECONDS and times=N.")
        options[name] = int(value)
    return options
