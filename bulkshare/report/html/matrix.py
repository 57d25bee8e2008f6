"""Images x projects as a picture: a cell per pair, or per block of pairs if there are many. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bulkshare.report.html.pairs import ORDER
from bulkshare.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bulkshare.model import Result
    from bulkshare.report.html.pairs import Dictionary, PairScan

MOST_ROWS, BLOCK_ROWS = 100, 40  # up to so many images have a row each; more share so many rows
MOST_COLUMNS, BLOCK_COLUMNS = 128, 96
MOST_NAMED_ROWS, MOST_NAMED_COLUMNS = 40, 24
# (columns, width of a column in pixels): the first that has enough columns. Each fits the page.
WIDTHS = ((MOST_NAMED_COLUMNS, 26), (48, 16), (80, 10), (MOST_COLUMNS, 7))
HEIGHTS = ((MOST_NAMED_ROWS, 18), (MOST_ROWS, 8))
CHARACTER_PIXELS = 7.0  # of the font that names rows and columns, 11 pixels high
LONGEST_NAME, LONGEST_ID = 26, 12  # characters; the end of an ID adds little


@dataclass(frozen=True, slots=True)
class Axis:
    """One side of the matrix: `count` things in `cells` blocks of `per_cell`; the last block may have fewer."""

    count: int
    per_cell: int
    cells: int
    step: int  # pixels
    names: tuple[str, ...]  # of each cell, or none


@dataclass(frozen=True, slots=True)
class Label:
    """Text at a point of the picture, in pixels."""

    x: float
    y: float
    text: str


@dataclass(frozen=True, slots=True)
class Matrix:
    """A picture of `width` x `height` pixels with cells from (`left`, `top`); `paths` has an SVG path per result."""

    images: Axis
    projects: Axis
    left: int
    top: int
    width: int
    height: int
    paths: tuple[tuple[Result, str], ...]
    row_labels: tuple[Label, ...]
    column_labels: tuple[Label, ...]
    document: dict[str, Any]

    @property
    def blocks(self) -> bool:
        """Whether a cell may have several pairs."""
        return self.images.per_cell > 1 or self.projects.per_cell > 1


def matrix_of(scan: PairScan, dictionary: Dictionary, labels: Mapping[str, str]) -> Matrix | None:
    """Return the picture of a run's pairs, None if it has none. `labels` has names of images and projects by ID."""
    image_ids = [image_id for image_id, _, _ in scan.spans]
    if not image_ids:
        return None
    rows = _axis(image_ids, labels, (MOST_ROWS, BLOCK_ROWS), HEIGHTS, MOST_NAMED_ROWS)
    where = _clouds(scan, rows)
    if rows.per_cell == 1 and any(where):
        rows = replace(rows, names=tuple(f"{cloud}: {name}" for cloud, name in zip(where, rows.names, strict=False)))
    columns = _axis(scan.projects, labels, (MOST_COLUMNS, BLOCK_COLUMNS), WIDTHS, MOST_NAMED_COLUMNS)
    left = round(max((len(name) for name in rows.names), default=0) * CHARACTER_PIXELS) + 8 if rows.names else 1
    slope = max((len(name) for name in columns.names), default=0) * CHARACTER_PIXELS
    top = round(slope * 0.87) + 14 if columns.names else 1
    overhang = round(slope * 0.5) if columns.names else 0  # of the last column's sloping name
    cells = _count(scan, rows.per_cell, columns.per_cell)
    mixes: dict[tuple[int, ...], int] = {}
    numbers = [[-1] * columns.cells for _ in range(rows.cells)]
    paths: dict[int, list[str]] = {}
    for (row, column), counts in sorted(cells.items()):
        mix = tuple(number for code in sorted(counts) for number in (code, counts[code]))
        numbers[row][column] = mixes.setdefault(mix, len(mixes))
        box = f"M{left + column * columns.step} {top + row * rows.step}h{columns.step - 1}v{rows.step - 1}"
        paths.setdefault(mix[0], []).append(f"{box}h-{columns.step - 1}z")
    return Matrix(
        images=rows,
        projects=columns,
        left=left,
        top=top,
        width=left + columns.cells * columns.step + overhang,
        height=top + rows.cells * rows.step,
        paths=tuple((ORDER[code], "".join(paths[code])) for code in sorted(paths)),
        row_labels=tuple(Label(left - 7, top + (i + 0.5) * rows.step + 3, name) for i, name in enumerate(rows.names)),
        column_labels=tuple(
            Label(left + (i + 0.5) * columns.step, top - 6, name) for i, name in enumerate(columns.names)
        ),
        document={
            "left": left,
            "top": top,
            "step": [columns.step, rows.step],
            "images": [len(image_ids), rows.per_cell, _edges(image_ids, rows, dictionary)],
            "projects": [len(scan.projects), columns.per_cell, _edges(scan.projects, columns, dictionary)],
            "clouds": where,
            "cells": numbers,
            "mixes": list(mixes),
        },
    )


def _axis(
    ids: Sequence[str],
    labels: Mapping[str, str],
    most: tuple[int, int],
    steps: tuple[tuple[int, int], ...],
    most_named: int,
) -> Axis:
    count = len(ids)
    per_cell = 1 if count <= most[0] else -(-count // most[1])
    cells = -(-count // per_cell)
    names: tuple[str, ...] = ()
    if cells <= most_named and per_cell == 1:
        names = tuple(
            clean(labels[text], LONGEST_NAME) if labels.get(text) else clean(text, LONGEST_ID) for text in ids
        )
    elif cells <= most_named:
        names = tuple(f"{i * per_cell + 1:,}–{min((i + 1) * per_cell, count):,}" for i in range(cells))  # noqa: RUF001  a range
    return Axis(count, per_cell, cells, next(step for up_to, step in steps if cells <= up_to), names)


def _clouds(scan: PairScan, rows: Axis) -> list[str]:
    """Return the cloud of each row, cleaned; empty if the row has images of several, or there is only one cloud."""
    several = len(set(scan.clouds)) > 1
    found = []
    for start in range(0, rows.per_cell * rows.cells, rows.per_cell):
        clouds = set(scan.clouds[start : start + rows.per_cell])
        found.append(clean(clouds.pop(), LONGEST_ID) if several and len(clouds) == 1 else "")
    return found


def _count(scan: PairScan, per_row: int, per_column: int) -> dict[tuple[int, int], dict[int, int]]:
    """Return the number of pairs by result code, for each (row, column) with any."""
    column_of = [project // per_column for project in range(len(scan.projects))]
    cells: dict[tuple[int, int], dict[int, int]] = {}
    for image, (_, start, end) in enumerate(scan.spans):
        columns = map(column_of.__getitem__, scan.members[start:end])
        of_image = Counter(zip(columns, scan.codes[start:end], strict=True))
        for (column, code), count in of_image.items():
            counts = cells.setdefault((image // per_row, column), {})
            counts[code] = counts.get(code, 0) + count
    return cells


def _edges(ids: Sequence[str], axis: Axis, dictionary: Dictionary) -> list[list[int]]:
    """Return the dictionary numbers of the first and last ID of each cell."""
    ends = range(axis.per_cell, axis.per_cell * axis.cells + 1, axis.per_cell)
    return [
        [dictionary.number(ids[end - axis.per_cell]), dictionary.number(ids[min(end, axis.count) - 1])] for end in ends
    ]
