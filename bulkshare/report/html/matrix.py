"""Images x projects as a picture: the failing ones first, a cell per pair, or per block of pairs. Pure.

A cell shows the worst result among its pairs, the fuller the more of them are not as planned.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from bulkshare.model import Result
from bulkshare.report.html.pairs import BAD_CODES, CODES, ORDER, differences
from bulkshare.text import clean, counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bulkshare.report.html.pairs import BadCounts, Dictionary, PairScan

MOST_ROWS, MOST_COLUMNS = 40, 120
MOST_NAMED_COLUMNS = 24
CHARACTER_PIXELS = 7.0  # of the font that names rows and columns, 11 pixels high
LONGEST_NAME, LONGEST_ID = 26, 12  # characters; the end of an ID adds little
PLAIN = {Result.SHARED, Result.ACCEPTED, Result.DECLINED, Result.ALREADY}  # have no mark beside their colour
MARKED = frozenset(CODES[result] for result in Result if result not in PLAIN)
SHADES = 4  # of cells, by the share of their pairs that are not as planned


class Sizes(NamedTuple):
    """How large an axis may be.

    most: cells. If there are more things, at most `most_failing` of the failing ones have a cell each, and the others
        share the rest.
    steps: (cells, pixels of each): the first that has enough cells. Each fits the page.
    """

    word: str
    most: int
    most_failing: int
    steps: tuple[tuple[int, int], ...]


ROWS = Sizes("image", MOST_ROWS, 30, ((MOST_ROWS, 18),))
COLUMNS = Sizes("project", MOST_COLUMNS, 90, ((MOST_NAMED_COLUMNS, 26), (48, 14), (80, 9), (MOST_COLUMNS, 6)))


@dataclass(frozen=True, slots=True)
class Axis:
    """One side of the matrix. Cell n has the things `order[edges[n]:edges[n + 1]]`, numbers of images or projects.

    alone: cells of one thing, which come first; the others are blocks.
    step: pixels.
    names: of each cell; those of blocks say how many things they have.
    """

    order: Sequence[int]
    edges: Sequence[int]
    alone: int
    step: int
    names: Sequence[str]

    @property
    def count(self) -> int:
        """How many things there are."""
        return len(self.order)

    @property
    def cells(self) -> int:
        """How many cells there are."""
        return len(self.edges) - 1

    @property
    def blocks(self) -> int:
        """How many of the cells have several things."""
        return self.cells - self.alone

    def cell_of(self) -> list[int]:
        """Return the cell of each thing."""
        found = [0] * self.count
        for cell, (start, end) in enumerate(pairwise(self.edges)):
            for number in self.order[start:end]:
                found[number] = cell
        return found


@dataclass(frozen=True, slots=True)
class Label:
    """Text at a point of the picture, in pixels; `wrong` if it is of something that is not as planned."""

    x: float
    y: float
    text: str
    wrong: bool = False


@dataclass(frozen=True, slots=True)
class Layer:
    """The cells with one worst result and one shade, from 1 to `SHADES`, as an SVG path; `marked`: with a mark."""

    result: Result
    shade: int
    path: str
    marked: bool


@dataclass(frozen=True, slots=True)
class Matrix:
    """A picture of `width` x `height` pixels with cells from (`left`, `top`).

    row_shares: how many of each row's pairs are not as planned.
    """

    images: Axis
    projects: Axis
    left: int
    top: int
    width: int
    height: int
    layers: tuple[Layer, ...]
    row_labels: tuple[Label, ...]
    row_shares: tuple[Label, ...]
    column_labels: tuple[Label, ...]
    document: dict[str, Any]


def matrix_of(scan: PairScan, bad: BadCounts, dictionary: Dictionary, labels: Mapping[str, str]) -> Matrix | None:
    """Return the picture of a run's pairs, None if it has none. `labels` has names of images and projects by ID.

    `bad` is of the scan. The dictionary has all IDs that the page's table has.
    """
    image_ids = [image_id for image_id, _, _ in scan.spans]
    if not image_ids:
        return None
    project_ids = scan.projects
    rows = _axis(image_ids, bad.images, scan.cloud_numbers, labels, ROWS)
    columns = _axis(project_ids, bad.projects, [0] * len(project_ids), labels, COLUMNS)
    where = _clouds(scan, rows)
    names = [f"{cloud}: {name}" if cloud else name for cloud, name in zip(where, rows.names, strict=True)]
    named = columns.cells <= MOST_NAMED_COLUMNS
    bad_rows = [sum(bad.images[number] for number in rows.order[start:end]) for start, end in pairwise(rows.edges)]
    planned_rows = [
        sum(scan.planned(number) for number in rows.order[start:end]) for start, end in pairwise(rows.edges)
    ]
    shares = [
        f"{wrong:,} of {planned:,}" if wrong else "" for wrong, planned in zip(bad_rows, planned_rows, strict=True)
    ]
    room = round(max(map(len, shares)) * CHARACTER_PIXELS) + 8 if any(shares) else 0
    left = round(max(map(len, names)) * CHARACTER_PIXELS) + 8 + room
    slope = max(map(len, columns.names)) * CHARACTER_PIXELS if named else 0.0
    top = round(slope * 0.87) + 14 if named else 4
    cells = _count(scan, rows, columns)
    mixes: dict[tuple[int, ...], int] = {}
    numbers = [[-1] * columns.cells for _ in range(rows.cells)]
    paths: dict[tuple[int, int], list[str]] = {}
    for (row, column), counts in sorted(cells.items()):
        mix = tuple(number for code in sorted(counts) for number in (code, counts[code]))
        numbers[row][column] = mixes.setdefault(mix, len(mixes))
        wrong = sum(count for code, count in counts.items() if code in BAD_CODES)
        planned = sum(counts.values())
        box = f"M{left + column * columns.step} {top + row * rows.step}h{columns.step - 1}v{rows.step - 1}"
        box += f"h-{columns.step - 1}z"
        if wrong < planned:  # the usual result is the ground
            usual = max((code for code in counts if code not in BAD_CODES), key=lambda code: counts[code])
            paths.setdefault((usual, SHADES), []).append(box)
        if wrong:
            shade = max(1, -(-wrong * SHADES // planned))
            paths.setdefault((mix[0], shade), []).append(box)
    overhang = round(slope * 0.5)  # of the last column's sloping name
    # Good results are the ground, so they are drawn first.
    order = sorted(paths, key=lambda key: (key[0] in BAD_CODES, key))
    return Matrix(
        images=rows,
        projects=columns,
        left=left,
        top=top,
        width=left + columns.cells * columns.step + overhang + 2,
        height=top + rows.cells * rows.step + 1,
        layers=tuple(
            Layer(ORDER[code], shade, "".join(paths[code, shade]), marked=code in MARKED and shade == SHADES)
            for code, shade in order
        ),
        row_labels=tuple(
            Label(left - room - 7, top + (i + 0.5) * rows.step + 3, name, wrong=bool(shares[i]))
            for i, name in enumerate(names)
        ),
        row_shares=tuple(
            Label(left - 7, top + (i + 0.5) * rows.step + 3, text, wrong=True) for i, text in enumerate(shares) if text
        ),
        column_labels=tuple(
            Label(left + (i + 0.5) * columns.step, top - 6, name) for i, name in enumerate(columns.names) if named
        ),
        document={
            "left": left,
            "top": top,
            "step": [columns.step, rows.step],
            "rows": _things(rows, image_ids, labels, dictionary, scan.cloud_numbers, scan.clouds_read),
            "columns": _things(columns, project_ids, labels, dictionary, [0] * columns.count, 1),
            "clouds": where,
            "cells": numbers,
            "mixes": list(mixes),
        },
    )


def _axis(
    ids: Sequence[str], bad: Sequence[int], clouds: Sequence[int], labels: Mapping[str, str], sizes: Sizes
) -> Axis:
    """Arrange things: those with the most bad pairs first, then by cloud and name."""
    order = sorted(range(len(ids)), key=lambda i: (-bad[i], clouds[i], (labels.get(ids[i]) or ids[i]).casefold()))
    most = sizes.most
    if len(ids) <= most:
        alone, edges = len(ids), list(range(len(ids) + 1))
    else:
        alone = min(sum(map(bool, bad)), sizes.most_failing)
        rest, blocks = len(ids) - alone, most - alone
        per_block = -(-rest // blocks)
        edges = [*range(alone), *range(alone, len(ids), per_block), len(ids)]
    names = [_name(ids[order[start]], labels) for start in range(alone)]
    names += [counted(end - start, sizes.word) for start, end in pairwise(edges[alone:])]
    cells = len(edges) - 1
    return Axis(order, edges, alone, next(step for up_to, step in sizes.steps if cells <= up_to), names)


def _name(known_id: str, labels: Mapping[str, str]) -> str:
    name = labels.get(known_id)
    return clean(name, LONGEST_NAME) if name else clean(known_id, LONGEST_ID)


def _clouds(scan: PairScan, rows: Axis) -> list[str]:
    """Return the cloud of each row, cleaned; empty if the row has images of several, or there is only one cloud."""
    several = len(set(scan.clouds)) > 1
    found = []
    for start, end in pairwise(rows.edges):
        clouds = {scan.clouds[number] for number in rows.order[start:end]}
        found.append(clean(clouds.pop(), LONGEST_ID) if several and len(clouds) == 1 else "")
    return found


def _count(scan: PairScan, rows: Axis, columns: Axis) -> dict[tuple[int, int], dict[int, int]]:
    """Return the number of pairs by result code, for each (row, column) with any."""
    row_of, column_of = rows.cell_of(), columns.cell_of()
    cells: dict[tuple[int, int], dict[int, int]] = {}
    for image, (_, start, end) in enumerate(scan.spans):
        of_image = Counter(zip(map(column_of.__getitem__, scan.members[start:end]), scan.codes[start:end], strict=True))
        for (column, code), count in of_image.items():
            counts = cells.setdefault((row_of[image], column), {})
            counts[code] = counts.get(code, 0) + count
    return cells


def _things(
    axis: Axis,
    ids: Sequence[str],
    labels: Mapping[str, str],
    dictionary: Dictionary,
    clouds: Sequence[int],
    several: int,
) -> list[list[Any]]:
    """Return for each cell how it is called and the numbers of what it has, as far as the table has rows of it.

    A number is the dictionary's, times the number of clouds (`several`), plus that of the cloud. They are encoded as
    differences.
    """
    found: list[list[Any]] = []
    for start, end in pairwise(axis.edges):
        of_cell = axis.order[start:end]
        first, last = (clean(labels.get(ids[i]) or ids[i]) for i in (of_cell[0], of_cell[-1]))
        name = first if len(of_cell) == 1 else f"{axis.names[len(found)]} ({first} to {last})"
        numbers = ((dictionary.find(ids[i]), clouds[i]) for i in of_cell)
        known = sorted(number * several + cloud for number, cloud in numbers if number is not None)
        found.append([name, differences(known)])
    return found
