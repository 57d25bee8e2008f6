"""What the work on a run says about itself while it goes on, whoever listens: a terminal, a log, a program."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Protocol

from bulkshare.progress import Observers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from bulkshare.model import Account
    from bulkshare.ports import Observer
    from bulkshare.progress import Tracker
    from bulkshare.report import Summary


class Listener(Protocol):
    """Says what goes on. Must not block or raise."""

    def note(self, message: str) -> None:
        """Say something that is good to know."""
        ...

    def detail(self, message: str) -> None:
        """Say something that only who looks closely wants to hear."""
        ...

    def waiting(self, message: str) -> AbstractContextManager[None]:
        """Say what is being waited for while the context lasts."""
        ...

    def acting_as(self, account: Account, doing: str, what: str, *, plan: str, run: str | None) -> Listener:
        """Say who is about to do what; return a voice that has plan, cloud and run in all that it says."""
        ...

    def following(
        self,
        tracker: Tracker,
        *others: Observer,
        allowed_rate: float,
        pace: Callable[[], str],
        details: Callable[[], list[str]] = list,
        label: str = "",
    ) -> AbstractContextManager[Observers]:
        """Follow the work on one cloud while the context lasts; `others` are told, too.

        `pace` tells the state of the pace in a few words, `details` in lines; `label` tells the clouds apart where
        there are several.
        """
        ...

    def ended(self, summary: Summary) -> None:
        """Say how the work on one cloud ended."""
        ...


class SilentVoice:
    """Says nothing; whoever listens is among the observers."""

    def note(self, message: str) -> None:
        """Say nothing."""

    def detail(self, message: str) -> None:
        """Say nothing."""

    def waiting(self, message: str) -> AbstractContextManager[None]:
        """Say nothing."""
        del message
        return nullcontext()

    def acting_as(self, account: Account, doing: str, what: str, *, plan: str, run: str | None) -> Listener:
        """Say nothing."""
        del account, doing, what, plan, run
        return self

    @contextmanager
    def following(
        self,
        tracker: Tracker,
        *others: Observer,
        allowed_rate: float,
        pace: Callable[[], str],
        details: Callable[[], list[str]] = list,
        label: str = "",
    ) -> Iterator[Observers]:
        """Let the observers be told."""
        del allowed_rate, pace, details, label
        yield Observers(tracker, *others)

    def ended(self, summary: Summary) -> None:
        """Say nothing."""
