"""The live display on a terminal."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn
from rich.text import Text

from bulkshare.model import Result
from bulkshare.progress.tracker import is_bad

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from rich.console import Console
    from rich.progress import TaskID

    from bulkshare.progress.tracker import Tracker

ALWAYS_SHOWN = frozenset({Result.SHARED, Result.ALREADY})


@dataclass(frozen=True, slots=True)
class View:
    """What is shown of a run on one cloud.

    tracker: the counts.
    allowed_rate: requests per second, at most.
    pace: describes the pace in a few words.
    details: more about it, in lines.
    label: the cloud's name, if there are several.
    bound: fields on each line of the log.
    """

    tracker: Tracker
    allowed_rate: float
    pace: Callable[[], str] = str
    details: Callable[[], list[str]] = list
    label: str = ""
    bound: Mapping[str, str] = field(default_factory=dict)


class Display:
    """A live display on a terminal: a bar for each view, and the counts below.

    It is shown while any view is `showing`. It reads the trackers a few times a second in a thread of its own, so the
    work pays nothing for it.
    """

    def __init__(self, console: Console) -> None:
        self._views: tuple[tuple[TaskID, View], ...] = ()
        self._busy = 0
        self._waiting = False
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[left]}"),
            expand=True,
        )
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=5, transient=True)

    @contextmanager
    def waiting(self, message: str) -> Iterator[None]:
        """Show that something takes its time, unless something else is being shown."""
        if self._waiting or self._busy:
            yield
            return
        self._waiting = True
        try:
            with self._console.status(Text(message), spinner="line"):
                yield
        finally:
            self._waiting = False

    def say(self, message: str) -> None:
        """Print a message, above the display if there is one."""
        self._console.print(Text(message))

    @contextmanager
    def showing(self, view: View) -> Iterator[None]:
        """Show a view until this one and all others have ended."""
        task = self._bar.add_task(view.label or view.tracker.plan, total=max(view.tracker.planned, 1), left="")
        self._views = (*self._views, (task, view))  # a new tuple: the thread may be reading the old one
        self._busy += 1
        self._live.start()
        try:
            yield
        finally:
            self._busy -= 1
            if not self._busy:
                self._live.stop()
                for shown, _ in self._views:
                    self._bar.remove_task(shown)
                self._views = ()

    def _render(self) -> Group:
        views = self._views
        for task, view in views:
            left = view.tracker.seconds_left()
            self._bar.update(
                task,
                completed=view.tracker.done,
                total=max(view.tracker.planned, 1),
                left="" if left is None else f"{clock_face(left)} left",
            )
        return Group(self._bar, *(line for _, view in views for line in _lines(view)))


def _lines(view: View) -> Iterator[Text]:
    yield _line(view)
    for detail in view.details():
        yield Text(f"    {detail}", style="dim", no_wrap=True, overflow="ellipsis")


def _line(view: View) -> Text:
    tracker, phase = view.tracker, view.tracker.phase_name
    if phase and tracker.counts_images:
        phase += f" {tracker.phase_done:,}/{tracker.phase_total:,} images"
    line = Text(f"  {view.label}  " if view.label else "  ")
    for text, style in _counts(tracker):
        line.append(text, style=style).append("  ")
    line.append(f"{tracker.rate():.1f}/s of {view.allowed_rate:g}/s  {view.pace()}  {phase}", style="dim")
    return line


def _counts(tracker: Tracker) -> list[tuple[str, str]]:
    totals = tracker.totals
    counts = [
        (f"{totals[result]:,} {result.value}", "red" if is_bad(result) else "green")
        for result in Result
        if totals[result] or result in ALWAYS_SHOWN
    ]
    if tracker.retries:
        counts.append((f"{tracker.retries:,} {'retry' if tracker.retries == 1 else 'retries'}", "yellow"))
    return counts


def clock_face(seconds: float) -> str:
    """Return a duration as h:mm:ss, rounded up."""
    whole = math.ceil(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
