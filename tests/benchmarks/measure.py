"""Taking what a command costs, in rounds in which every contender has its turn, and what it was taken on."""

from __future__ import annotations

import os
import platform
import pty
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

BULKSHARE = str(Path(sys.executable).with_name("bulkshare"))


@dataclass(frozen=True)
class Taken:
    """What one command took. `amount` is how much it did, in whatever is counted.

    `work_seconds` is how long the work itself took, without start-up and log-in, where the command tells.
    """

    amount: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    work_seconds: float | None = None

    @property
    def per_second(self) -> float:
        """How much it did in a second, start-up included."""
        return self.amount / self.seconds

    @property
    def per_work_second(self) -> float | None:
        """How much it did in a second of work."""
        return None if self.work_seconds is None else self.amount / self.work_seconds

    @property
    def cpu_micros(self) -> float:
        """How many microseconds of CPU each of it took, start-up included."""
        return self.cpu_seconds / max(self.amount, 1) * 1e6


def take(
    command: Sequence[str],
    amount: int,
    *,
    directory: Path,
    environment: Mapping[str, str] | None = None,
    expect: Sequence[int] = (0,),
    cores: set[int] | None = None,
    terminal: bool = False,
) -> Taken:
    """Run a command to its end, on `cores` only where they are given. What it prints is in `out` and `err`.

    With `terminal`, its stderr is one.
    """
    out, told = directory / "out", directory / "err"
    prefix = ["taskset", "-c", ",".join(map(str, sorted(cores)))] if cores else []
    began = time.monotonic()
    with (
        out.open("wb") as stdout,
        told.open("wb") as file,
        _terminal_into(file) if terminal else nullcontext(file.fileno()) as stderr,
        subprocess.Popen(
            [*prefix, *command], cwd=directory, stdout=stdout, stderr=stderr, env=caching(environment or os.environ)
        ) as process,
    ):
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in expect:
        said = told.read_text("utf-8")[-2000:]
        raise SystemExit(f"{' '.join(command)} left with {process.returncode}: {said}")
    return Taken(amount, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def caching(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without what keeps Python from caching compiled modules, as an installed program has."""
    return {name: text for name, text in environment.items() if name != "PYTHONDONTWRITEBYTECODE"}


@contextmanager
def _terminal_into(file: BinaryIO) -> Iterator[int]:
    """Make a terminal, and copy what is shown on it into `file`."""
    ours, theirs = pty.openpty()

    def copy() -> None:
        with suppress(OSError):  # EIO: nobody has the other end any more
            while shown := os.read(ours, 65536):
                file.write(shown)

    copier = threading.Thread(target=copy)
    copier.start()
    try:
        yield theirs
    finally:
        os.close(theirs)
        copier.join()
        os.close(ours)


def interleaved(contenders: Mapping[str, Callable[[], Taken]], rounds: int) -> dict[str, list[Taken]]:
    """Let every contender have its turn in each round: what the machine does meanwhile meets all alike.

    Each round begins with another one, so that nobody is always the last.
    """
    seen: dict[str, list[Taken]] = {name: [] for name in contenders}
    names = list(contenders)
    for number in range(rounds):
        first = number * len(names) // rounds
        for name in names[first:] + names[:first]:
            seen[name].append(contenders[name]())
            print(f"    {name}: {seen[name][-1].per_second:,.1f}/s", file=sys.stderr, flush=True)
    return seen


def median_of(takes: Sequence[Taken]) -> Taken:
    """Return the median of each figure."""
    told = [take.work_seconds for take in takes if take.work_seconds is not None]
    return Taken(
        takes[0].amount,
        statistics.median(take.seconds for take in takes),
        statistics.median(take.cpu_seconds for take in takes),
        round(statistics.median(take.peak_bytes for take in takes)),
        statistics.median(told) if told else None,
    )


def further(whole: Sequence[Taken], part: Sequence[Taken]) -> Taken:
    """Return what was taken beyond a smaller amount in the same rounds: without start-up and log-in. Medians again."""
    return median_of(
        [
            Taken(
                more.amount - less.amount,
                more.seconds - less.seconds,
                more.cpu_seconds - less.cpu_seconds,
                more.peak_bytes,
            )
            for more, less in zip(whole, part, strict=True)
        ]
    )


def machine(*packages: str) -> dict[str, object]:
    """Return what the figures were taken on."""
    names = ("bulkshare", "aiohttp", "uvloop", *packages)
    return {
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        **{name: found for name in names if (found := _version_of(name))},
    }


def _version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
