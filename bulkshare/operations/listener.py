"""How an operation reports on itself while it runs: to a terminal, a log or a program."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Protocol

from bulkshare.progress import Observers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from bulkshare.model import Account
    from bulkshare.ports import Observer
    from bulkshare.progress import View
    from bulkshare.report import Summary


class Listener(Protocol):
    """Receives an operation's reports, on the event loop's thread. Must neither block nor raise."""

    @property
    def is_watched(self) -> bool:
        """Whether a person sees a note at once, and may be asked to log in."""
        ...

    @property
    def is_detailed(self) -> bool:
        """Whether every single answer is reported."""
        ...

    def note(self, message: str) -> None:
        """Report something that every user should know."""
        ...

    def detail(self, message: str) -> None:
        """Report something to users who asked for details."""
        ...

    def waiting(self, message: str) -> AbstractContextManager[None]:
        """Report what is being waited for, while the context lasts."""
        ...

    def acting_as(self, account: Account, doing: str, what: str, *, plan: str, run: str | None) -> Listener:
        """Report what starts, and on whose behalf. Return a listener that adds plan, cloud and run to what it reports.

        `doing` is a participle such as "starting", `what` its object.
        """
        ...

    def following(self, view: View, *observers: Observer) -> AbstractContextManager[Observers]:
        """Report progress on one cloud while the context lasts. Return the observers to notify, with `observers`."""
        ...

    def ended(self, summary: Summary) -> None:
        """Report how the work on one cloud ended."""
        ...


class SilentListener:
    """Reports nothing. Observers still get their events."""

    is_watched = False
    is_detailed = False

    def note(self, message: str) -> None:
        """See `Listener`."""

    def detail(self, message: str) -> None:
        """See `Listener`."""

    def waiting(self, message: str) -> AbstractContextManager[None]:
        """See `Listener`."""
        del message
        return nullcontext()

    def acting_as(self, account: Account, doing: str, what: str, *, plan: str, run: str | None) -> Listener:
        """See `Listener`."""
        del account, doing, what, plan, run
        return self

    @contextmanager
    def following(self, view: View, *observers: Observer) -> Iterator[Observers]:
        """See `Listener`."""
        yield Observers(view.tracker, *observers)

    def ended(self, summary: Summary) -> None:
        """See `Listener`."""
