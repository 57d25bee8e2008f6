"""A run as one self-contained HTML page that loads nothing, and in which text from servers is only text. Pure.

Imports Jinja2, so only the command that writes the page imports it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from bulkshare.model import AS_PLANNED, Result, RunState
from bulkshare.report.history import Change
from bulkshare.report.html.charts import HEIGHT, WIDTH, latency_of, shares_of, statuses_of, timeline_of
from bulkshare.report.html.matrix import matrix_of
from bulkshare.report.html.pairs import CHANGES, ORDER, Dictionary, FormerResults, PairScan, Table
from bulkshare.report.text import MEANINGS, MOST_AT_FAULT, awaiting, duration, hint_for, named_plan
from bulkshare.text import clean, counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from bulkshare.model import Outcome, Run, Telemetry
    from bulkshare.report.summary import Cause

MOST_CAUSES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What the page shows of a run, or of a command's runs on several clouds.

    run: with several clouds, their sum.
    outcomes, outcomes_before: grouped by image, as a ledger yields them; those of `before` are read first.
    made_at: when the page is made, in UTC.
    before: the plan's previous run, None if there is none.
    labels: names of images and projects by ID.
    parts: the pages of several clouds; then the fields about pairs, causes and telemetry are not used.
    """

    run: Run
    outcomes: Iterable[Outcome]
    made_at: datetime
    before: Run | None = None
    outcomes_before: Iterable[Outcome] = ()
    causes: Sequence[Cause] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    telemetry: Sequence[Telemetry] = ()
    parts: Sequence[Page] = ()


def render_page(page: Page) -> Iterator[str]:
    """Yield the page's HTML in pieces."""
    dictionary = Dictionary(page.labels)
    table = Table(page.run.totals, page.run.started_at, dictionary)
    scan = PairScan(table)
    parts = page.parts or (page,)
    for part in parts:
        former = None if part.before is None else FormerResults(part.outcomes_before)
        scan.read(part.outcomes, former, cloud=part.run.account.cloud)
    causes = [(part.run, cause) for part in parts for cause in part.causes]
    matrix = matrix_of(scan, dictionary, page.labels)
    document = {
        "results": [[result.value, result in AS_PLANNED] for result in ORDER],
        "changes": [change.value for change in CHANGES],
        "table": table.document(),
        "matrix": None if matrix is None else matrix.document,
        "dictionary": dictionary.document(),
    }
    style, script = _own("style.css"), _own("page.js")
    yield from _template().generate(
        style=Markup(style),  # noqa: S704  our own file
        script=Markup(script),  # noqa: S704  our own file
        style_hash=_hash(style),
        script_hash=_hash(script),
        data=_json(document),
        run=page.run,
        parts=parts,
        compared=[part.before for part in parts if part.before is not None],
        made_at=page.made_at,
        planned=sum(page.run.totals.values()),
        shares=shares_of(page.run.totals),
        results=[(result, page.run.totals[result]) for result in ORDER if page.run.totals.get(result)],
        order=ORDER,
        as_planned=AS_PLANNED,
        meanings=MEANINGS,
        statuses=scan.statuses.most_common(),
        changes=scan.changes,
        Change=Change,
        causes=causes[:MOST_CAUSES],
        more_causes=max(0, len(causes) - MOST_CAUSES),
        most_at_fault=MOST_AT_FAULT,
        matrix=matrix,
        charts=[
            (part.run, timeline_of(part.telemetry), latency_of(part.telemetry), statuses_of(part.telemetry))
            for part in parts
        ],
        chart_width=WIDTH,
        chart_height=HEIGHT,
        table=table,
        name=partial(_name, page.labels),
        hint=partial(hint_for, plan=named_plan(page.run.plan)),
    )


def _template() -> Any:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "awaiting": awaiting,
        "clean": clean,
        "counted": counted,
        "duration": duration,
        "moment": moment,
        "number": number,
        "verdict": verdict,
    }
    return environment.from_string(_own("page.html.jinja"))


def _own(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")


def _name(labels: Mapping[str, str], text: str) -> str:
    return clean(labels.get(text) or text)


def _hash(text: str) -> str:
    """Return the Content-Security-Policy source of an inline style or script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _json(document: dict[str, Any]) -> Markup:
    """Return JSON that is safe in a script element: nothing in it ends the element or starts a comment."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704  as the docstring says


def number(value: float) -> str:
    """Return a number with thousands separators and at most one decimal."""
    return f"{round(value, 1):,}".removesuffix(".0")


def moment(time: datetime) -> str:
    """Return a UTC time as text."""
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"


def verdict(run: Run) -> str:
    """Return the outcome of a run in a sentence or two."""
    planned = sum(run.totals.values())
    good = sum(run.totals.get(result, 0) for result in AS_PLANNED)
    pending = run.totals.get(Result.PENDING, 0)
    bad = planned - good - pending
    if not planned:
        return "The run has no pairs."
    if good == planned:
        return f"All {planned:,} pairs are as planned." if planned > 1 else "The one pair is as planned."
    sentences = []
    if bad:
        parts = [
            f"{run.totals[result]:,} {result.value}" for result in ORDER if _is_bad(result) and run.totals.get(result)
        ]
        none = "None" if not good else f"{good:,}"
        sentences.append(f"{none} of {counted(planned, 'pair')} {_are(good)} as planned; {_listed(parts)}.")
    if pending:
        subject = counted(pending, "pair") if bad else f"{pending:,} of {counted(planned, 'pair')}"
        if run.state is RunState.RUNNING:
            sentences.append(f"{subject} {_are(pending)} pending: the run is still running, or was killed.")
        else:
            sentences.append(f"{subject} {_are(pending)} pending: the run ended early.")
    return " ".join(sentences)


def _is_bad(result: Result) -> bool:
    return result not in AS_PLANNED and result is not Result.PENDING


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
