"""What an operation says about itself while it goes on, to a terminal, a log or a program."""

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
    """Is told what goes on, on the event loop's thread. Must neither block nor raise."""

    def note(self, message: str) -> None:
        """Take a message for every user."""
        ...

    def detail(self, message: str) -> None:
        """Take a message for users who want to see everything."""
        ...

    def waiting(self, message: str) -> AbstractContextManager[None]:
        """Show what is being waited for while the context lasts."""
        ...

    def acting_as(self, account: Account, doing: str, what: str, *, plan: str, run: str | None) -> Listener:
        """Take note of who begins to do what, and where; return the listener for it, which knows plan, cloud and run.

        `doing` is a participle such as "starting", `what` its object.
        """
        ...

    def following(self, view: View, *observers: Observer) -> AbstractContextManager[Observers]:
        """Follow the work on one cloud while the context lasts; return who is to be told, `observers` among them."""
        ...

    def ended(self, summary: Summary) -> None:
        """Take note of how the work on one cloud ended."""
        ...


class SilentListener:
    """Passes nothing on but events, to the observers."""

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
