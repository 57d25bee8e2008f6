"""Faults of the sandbox: what to break, how, and how often.

The grammar of a rule, on one line:

    METHOD TARGET EFFECT PERCENT% [retry-after=SECONDS] [times=N]

    METHOD   GET, POST, PUT, DELETE, PATCH, HEAD, or ANY
    TARGET   members (/v2/images/{id}/members), member (one of them), images (all, or one), tokens (log-ins),
             projects (Keystone's: all, the user's, or one), any
    EFFECT   503 or another status from 200 to 599: that response, and nothing is done. From 200 to 399 it is the page
                         of a proxy, from 400 on it is worded as by the service itself
             503-after   the request takes effect, then gets that response
             reset       the connection is cut, and nothing is done
             reset-after the request takes effect, then the connection is cut
             truncate    the request takes effect, and half of the response's body is sent as if it were all
             hang        there is no response, and nothing is done
    PERCENT  of the requests, 0 to 100, drawn for each
    retry-after  adds the header Retry-After to the response of a status
    times        limits how often the rule applies

Examples: `POST members 503 10% retry-after=2`, `POST members reset-after 100% times=1`. The first rule that applies to
a request counts.
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
    """What happens instead of a proper response."""

    STATUS = "status"
    RESET = "reset"
    TRUNCATE = "truncate"
    HANG = "hang"


@dataclass(frozen=True, slots=True)
class FaultRule:
    """One kind of fault. If `done`, the request takes effect nevertheless."""

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
        """Parse a rule in this module's grammar. Raises `ValueError` with a sentence for the user."""
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
            raise ValueError(f"The fault {text!r} has no response that could carry retry-after; only a status has one.")
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
        """Return whether the rule applies to such a request."""
        return self.method in {method, "ANY"} and self.target in {target, "any"}


class Faults:
    """Draws for each request which rule applies, and counts."""

    def __init__(self, rules: Sequence[FaultRule], chance: Random) -> None:
        self._rules = tuple(rules)
        self._applied = [0] * len(rules)
        self._chance = chance

    def draw(self, method: str, target: str) -> FaultRule | None:
        """Return the rule that applies to this request, if any."""
        for number, rule in enumerate(self._rules):
            used_up = rule.times is not None and self._applied[number] >= rule.times
            if not used_up and rule.fits(method, target) and self._chance.random() * 100 < rule.percent:
                self._applied[number] += 1
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
        raise ValueError(f"The fault {text!r} has {word!r} instead of a percentage from 0% to 100%.")
    return float(found[1])


def _read_options(text: str, words: Sequence[str]) -> dict[str, int]:
    options = {}
    for word in words:
        name, _, value = word.partition("=")
        if name not in OPTIONS or not value.isdecimal():
            raise ValueError(f"The fault {text!r} ends with {word!r}; known are retry-after=SECONDS and times=N.")
        options[name] = int(value)
    return options
