"""Which clouds a plan is for: told by `cloud`, by `clouds`, or by the entries alone.

Takes data that may be no plan: what has not the right form is passed over, the schema tells of it.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from bulkshare.text import clean

if TYPE_CHECKING:
    from bulkshare.model import Problem
    from bulkshare.plan.document import Document


def clouds_of(document: Document, problems: list[Problem]) -> tuple[str, ...]:
    """Return the plan's clouds, none where it names none. Problems are added to `problems`."""
    data = document.data if isinstance(document.data, dict) else {}
    listed = _texts(data.get("clouds"))
    if "cloud" in data and "clouds" in data:
        problems.append(document.problem(("clouds",), "`cloud` and `clouds` are both here; keep one", at_key=True))
        return ()
    for number, cloud in enumerate(listed):
        if cloud is not None and cloud in listed[:number]:
            problems.append(document.problem(("clouds", number), f"{clean(cloud, 60)!r} stands here again; keep one"))
    known = dict.fromkeys(cloud for cloud in _texts([data.get("cloud"), *listed]) if cloud)
    entries = _texts([section.get("cloud") if isinstance(section, dict) else None for section in _sections(data)])
    if "cloud" in data or "clouds" in data:
        _check_entries(entries, list(known), document, problems)
        return tuple(known)
    if any(entries):
        for number, cloud in enumerate(entries):
            if not cloud:
                message = "has no `cloud`, while other entries have; add it, or name all in `clouds` at the top"
                problems.append(document.problem(("share", number), message))
    return tuple(dict.fromkeys(cloud for cloud in entries if cloud))


def _check_entries(entries: list[str | None], known: list[str], document: Document, problems: list[Problem]) -> None:
    if not known:  # they are no good: told already
        return
    for number, cloud in enumerate(entries):
        if cloud and cloud not in known:
            near = difflib.get_close_matches(cloud, known, n=1, cutoff=0.5)
            hint = f"did you mean {clean(near[0], 60)!r}?" if near else f"they are: {clean(', '.join(known))}"
            message = f"{clean(cloud, 60)!r} is none of the plan's clouds; {hint}"
            problems.append(document.problem(("share", number, "cloud"), message))
    idle = [cloud for cloud in known if None not in entries and cloud not in entries]
    for cloud in idle if entries else ():
        at = ("clouds", known.index(cloud)) if "clouds" in document.data else ("cloud",)
        problems.append(document.problem(at, f"no entry is for {clean(cloud, 60)!r}; take it away, or add one"))


def _texts(value: Any) -> list[str | None]:
    return [item if isinstance(item, str) else None for item in value] if isinstance(value, list) else []


def _sections(data: dict[str, Any]) -> list[Any]:
    share = data.get("share")
    return share if isinstance(share, list) else []
