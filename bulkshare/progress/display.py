"""The live display on a terminal. Must not know how the trackers get their counts."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn
from rich.text import Text

from bulkshare.model import Result
from bulkshare.progress.tracker import is_bad

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from rich.console import Console

    from bulkshare.progress.tracker import Tracker

ALWAYS_SHOWN = frozenset({Result.SHARED, Result.ALREADY})


@dataclass(frozen=True, slots=True)
class View:
    """What there is to see of a run on one cloud, for a display or a log.

    `pace` tells the state of the pace in a few words; `label` tells the clouds apart where there are several;
    `bound` is on each line of the log.
    """

    tracker: Tracker
    allowed_rate: float
    pace: Callable[[], str] = str
    label: str = ""
    bound: Mapping[str, str] = field(default_factory=dict)


class Display:
    """A live display on a terminal, as a context manager: for each view a bar, and below it what the pairs became.

    Reads the trackers a few times a second from a thread of its own, so that the work pays nothing for it.
    """

    def __init__(self, views: Sequence[View], console: Console) -> None:
        self._views = views
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[left]}"),
            expand=True,
        )
        self._tasks = [
            self._bar.add_task(view.label or view.tracker.plan, total=max(view.tracker.planned, 1), left="")
            for view in views
        ]
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=5, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def _render(self) -> Group:
        for task, view in zip(self._tasks, self._views, strict=True):
            left = view.tracker.seconds_left()
            self._bar.update(
                task,
                completed=view.tracker.done,
                total=max(view.tracker.planned, 1),
                left="" if left is None else f"{clock_face(left)} left",
            )
        return Group(self._bar, *map(_line, self._views))


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
    told = [
        (f"{totals[result]:,} {result.value}", "red" if is_bad(result) else "green")
        for result in Result
        if totals[result] or result in ALWAYS_SHOWN
    ]
    if tracker.retries:
        told.append((f"{tracker.retries:,} {'retry' if tracker.retries == 1 else 'retries'}", "yellow"))
    return told


def clock_face(seconds: float) -> str:
    """Return a duration as h:mm:ss, rounded up."""
    whole = math.ceil(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
