"""The live display on a terminal."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from bulkshare.model import Result
from bulkshare.report.text import STYLES
from bulkshare.text import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from rich.console import Console
    from rich.progress import Task, TaskID
    from rich.progress_bar import ProgressBar

    from bulkshare.progress.tracker import Tracker

ALWAYS_SHOWN = frozenset({Result.SHARED, Result.ALREADY})
SEVERITY = ("red", "yellow")  # the styles of results that colour the bar, the worst first


@dataclass(frozen=True, slots=True)
class View:
    """What is shown of a run on one cloud.

    tracker: the counts.
    pace: describes the pace in a few words.
    details: more about it, in lines.
    label: the cloud's name, if there are several.
    bound: fields on each line of the log.
    names: of images and projects by ID, as far as they are known so far.
    """

    tracker: Tracker
    pace: Callable[[], str] = str
    details: Callable[[], list[str]] = list
    label: str = ""
    bound: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)


class _Bar(BarColumn):
    """A bar in the colour of its task."""

    def render(self, task: Task) -> ProgressBar:
        """Return the bar."""
        bar = super().render(task)
        bar.complete_style = bar.finished_style = task.fields["colour"]
        return bar


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
            _Bar(bar_width=None),
            TextColumn("{task.fields[done]}"),
            TextColumn("{task.fields[time]}"),
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
        task = self._bar.add_task(view.label or view.tracker.plan, **_fields(view.tracker))
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
            self._bar.update(task, **_fields(view.tracker))
        return Group(self._bar, *(line for _, view in views for line in _lines(view)))


def _fields(tracker: Tracker) -> dict[str, Any]:
    """Return what the line of the bar shows: pairs, or where there are none, images."""
    done, planned, left = tracker.done, tracker.planned, tracker.seconds_left()
    if _is_survey(tracker):
        done, planned = tracker.phase_done, tracker.phase_total
    elapsed = f"{clock_face(tracker.elapsed_seconds())} elapsed"
    return {
        "completed": done,
        "total": max(planned, 1),
        "done": f"{done:,}/{planned:,}  {100 * done // max(planned, 1)}%",
        "time": elapsed if left is None else f"{elapsed}, {clock_face(left)} left",
        "colour": _colour(tracker),
    }


def _is_survey(tracker: Tracker) -> bool:
    """Whether images are listed and no pairs are planned, as without a plan."""
    return bool(tracker.phase_name) and tracker.counts_images and not tracker.planned


def _colour(tracker: Tracker) -> str:
    """Return the colour of the worst result so far: green while all is well."""
    totals = tracker.totals
    styles = {STYLES[result] for result in Result if totals[result]}
    return next((style for style in SEVERITY if style in styles), "green")


def _lines(view: View) -> Iterator[Text]:
    tracker, phase = view.tracker, view.tracker.phase_name
    if phase and tracker.counts_images:
        phase += f" {tracker.phase_done:,}/{tracker.phase_total:,} images"
    if not _is_survey(tracker):
        yield Text("  ").join([Text(f"  {view.label}" if view.label else ""), *_counts(tracker)])
    rate = f"{tracker.rate():,.1f}/s of {tracker.allowed_rate:,.10g}/s"
    yield Text("  ".join(part for part in ("  " + phase, rate, view.pace()) if part.strip()), style="dim")
    for detail in view.details():
        yield Text(f"    {detail}", style="dim", no_wrap=True, overflow="ellipsis")


def _counts(tracker: Tracker) -> list[Text]:
    totals = tracker.totals
    counts = [
        Text(f"{totals[result]:,} {result.value}", STYLES[result] if totals[result] else "dim")
        for result in Result
        if totals[result] or result in ALWAYS_SHOWN
    ]
    if tracker.opened:
        counts.append(Text(f"{counted(tracker.opened, 'image')} opened", "green"))
    if tracker.batches:
        pairs = counted(tracker.batched_pairs, "pair")
        counts.append(Text(f"{counted(tracker.batches, 'batch', 'batches')} with {pairs}", "dim"))
    if tracker.retries:
        counts.append(Text(counted(tracker.retries, "retry", "retries"), "yellow"))
    return counts


def clock_face(seconds: float) -> str:
    """Return a duration as h:mm:ss, rounded up."""
    whole = math.ceil(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
