"""Lines and columns for people. Pure.

rich's own tables drop and break columns where the terminal is narrow, and fill up lines with blanks where there is
none. Here nothing is dropped: a line that must stay whole does, however long it is; prose goes on below its beginning.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from rich.console import Console, ConsoleOptions, RenderResult

GAP = "  "
WORD = re.compile(r"\s*\S+\s*")
CELL = re.compile(r"\s*\S+(?: \S+)*\s*")
NARROWEST = 20  # columns that prose gets at least, whatever its indentation


def duration(seconds: float) -> str:
    """Return "1.5 s" below a minute, else h:mm:ss."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def whole(text: Text) -> Text:
    """Return the line so that no console breaks it. It has to be printed without cropping."""
    text.no_wrap, text.overflow = True, "ignore"
    return text


def aligned(rows: Iterable[Sequence[Text | str]], *, right: Collection[int] = (), indent: int = 0) -> list[Text]:
    """Return one whole line for each row, with the cells in columns, those of `right` flush right.

    A column that is empty in all rows takes no room.
    """
    cells = [[Text(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    widths = [max(cell.cell_len for cell in column) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        line = Text(" " * indent)
        for number, (cell, width) in enumerate(zip(row, widths, strict=True)):
            if not width:
                continue
            blanks = " " * (width - cell.cell_len)
            before, after = (blanks, "") if number in right else ("", blanks)
            line = Text.assemble(line, before, cell, after, GAP)
        line.rstrip()
        lines.append(whole(line))
    return lines


class Prose:
    """Text wrapped at the console's width, all of it indented; `hanging` indents all but its first line more.

    With `cells` it is broken only between what `aligned` put into columns.
    """

    def __init__(self, text: Text | str, *, indent: int = 0, hanging: int = 0, cells: bool = False) -> None:
        self._unit = CELL if cells else WORD
        self._text = Text(text) if isinstance(text, str) else text
        self._indent = indent
        self._hanging = hanging

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        del console
        width = max(options.max_width - self._indent - self._hanging, NARROWEST)
        for number, line in enumerate(self._text.divide(_breaks(self._text.plain, width, self._unit))):
            line.rstrip()
            yield whole(Text.assemble(" " * (self._indent + (self._hanging if number else 0)), line))


def _breaks(plain: str, width: int, unit: re.Pattern[str]) -> list[int]:
    """Return where to break a text into lines of `width` or less: between units, never in one, so never in an ID."""
    breaks: list[int] = []
    used = 0
    for word in unit.finditer(plain):
        if used and used + cell_len(word[0].rstrip()) > width:
            breaks.append(word.start())
            used = 0
        used += cell_len(word[0])
    return breaks


class Roomy:
    """Shows `wide` where all its lines fit the console, else `narrow`."""

    def __init__(self, wide: Sequence[Text], narrow: Sequence[Text | Prose]) -> None:
        self._wide = wide
        self._narrow = narrow

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        del console
        fits = all(line.cell_len <= options.max_width for line in self._wide)
        yield from self._wide if fits else self._narrow
