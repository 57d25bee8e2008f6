"""A run as one self-contained HTML page that loads nothing, and in which text from servers is only text. Pure.

Imports Jinja2, so only the command that writes the page imports it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from bulkshare.model import AS_PLANNED, Result
from bulkshare.report.history import MARKS, Change, since
from bulkshare.report.html.advice import mark_of, next_step, verdict
from bulkshare.report.html.charts import HEIGHT, WIDTH, latency_of, shares_of, statuses_of, timeline_of
from bulkshare.report.html.matrix import matrix_of
from bulkshare.report.html.pairs import CHANGES, ORDER, Dictionary, FormerResults, PairScan, Table
from bulkshare.report.html.worst import worst_of
from bulkshare.report.text import MEANINGS, MOST_AT_FAULT, awaiting, duration, hint_for, named_plan
from bulkshare.text import clean, counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from bulkshare.model import Outcome, Run, Telemetry
    from bulkshare.report.history import History
    from bulkshare.report.summary import Cause

MOST_CAUSES = 50
LONGEST_LINE = 4_000  # characters of a path or a command
CODE = re.compile(r"`([^`<>]+)`")
FILE_CHARACTERS = re.compile(r"[^\w.-]+")
LEAST_SECONDS = 10.0  # of work; below that the charts are folded


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What the page shows of a run, or of a command's runs on several clouds.

    run: with several clouds, their sum.
    outcomes, outcomes_before: grouped by image, as a ledger yields them; those of `before` are read first.
    made_at: when the page is made, in UTC.
    before: the plan's previous run, None if there is none.
    labels: names of images and projects by ID.
    history: of the plan's last runs for this account, this one the last.
    ledger: the path of the ledger, if commands have to name it.
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
    history: History | None = None
    ledger: str = ""
    parts: Sequence[Page] = ()


def render_page(page: Page) -> Iterator[str]:
    """Yield the page's HTML in pieces."""
    parts = page.parts or (page,)
    causes = [(part.run, cause) for part in parts for cause in part.causes]
    causes.sort(key=lambda of_run: -of_run[1].count)
    cause_numbers = {
        reason: number for number, reason in enumerate(dict.fromkeys(cause.reason for _, cause in causes[:MOST_CAUSES]))
    }
    dictionary = Dictionary(page.labels)
    table = Table(page.run.totals, page.run.started_at, dictionary, cause_numbers)
    scan = PairScan(table)
    for part in parts:
        former = None if part.before is None else FormerResults(part.outcomes_before)
        scan.read(part.outcomes, former, cloud=part.run.account.cloud)
    bad = scan.bad()
    worst_images, worst_projects = worst_of(scan, bad, page.labels)
    matrix = matrix_of(scan, bad, dictionary, page.labels)
    document = {
        "results": [[result.value, result in AS_PLANNED] for result in ORDER],
        "changes": [change.value for change in CHANGES],
        "causes": [clean(reason) for reason in cause_numbers],
        "file": FILE_CHARACTERS.sub("-", page.run.key),
        "table": table.document(),
        "matrix": None if matrix is None else matrix.document,
        "dictionary": dictionary.document(),
    }
    plan_file = next((clean(one.plan_file, LONGEST_LINE) for one in reversed(page.run.origins) if one.plan_file), "")
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
        batches=sum(one.batches for part in parts for one in part.telemetry),
        batched_pairs=sum(one.batched_pairs for part in parts for one in part.telemetry),
        changes=scan.changes,
        Change=Change,
        causes=causes[:MOST_CAUSES],
        more_causes=max(0, len(causes) - MOST_CAUSES),
        cause_numbers=cause_numbers,
        most_at_fault=MOST_AT_FAULT,
        worst=[("image", worst_images), ("project", worst_projects)],
        mark=mark_of(page.run),
        step=next_step(page.run, ledger=page.ledger),
        marks=MARKS,
        accepted=page.run.totals.get(Result.ACCEPTED, 0),
        histories=[(part.run, part.history) for part in parts if part.history is not None],
        history_name=lambda history, text: _name(history.names, text),
        charted=any(timeline_of(part.telemetry) for part in parts),
        matrix=matrix,
        charts=[
            (part.run, timeline_of(part.telemetry), latency_of(part.telemetry), statuses_of(part.telemetry))
            for part in parts
        ],
        open_charts=page.run.seconds >= LEAST_SECONDS,
        chart_width=WIDTH,
        chart_height=HEIGHT,
        table=table,
        name=partial(_name, page.labels),
        hint=partial(hint_for, plan=named_plan(page.run.plan, plan_file)),
    )


def _template() -> Any:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "awaiting": awaiting,
        "clean": clean,
        "line": partial(clean, longest=LONGEST_LINE),
        "link": link,
        "since": since,
        "counted": counted,
        "duration": duration,
        "moment": moment,
        "number": number,
        "prose": prose,
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


def prose(text: str) -> Markup:
    """Return text with what stands between backticks as code."""
    return Markup(CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704  escaped


def link(filters: Mapping[str, Any]) -> str:
    """Return a link within the page that filters its table; empty values are left out."""
    return "#" + urlencode({key: value for key, value in filters.items() if value not in {"", None}}, quote_via=quote)


def number(value: float) -> str:
    """Return a number with thousands separators and at most one decimal."""
    return f"{round(value, 1):,}".removesuffix(".0")


def moment(time: datetime) -> str:
    """Return a UTC time as text."""
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"
