"""How it ended, told once: for each cloud in words, or for all of them as one JSON object; and the exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from bulkshare.report import changes_document, comparison_document, merged, summary_document

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bulkshare.app.parts import Part
    from bulkshare.cli.output import Voice
    from bulkshare.report import Comparison


def conclude(parts: Sequence[Part], voice: Voice) -> int:
    """Tell what became of a plan; return 0 where all is as planned, else 1. Raises what ended a part early."""
    for part in parts:
        if part.summary is not None:
            voice.conclude(part.summary, comparison=part.comparison)
    if voice.as_json and any(part.summary for part in parts):
        voice.print_json(_document(parts))
    _raise_first(parts)
    return 0 if all(part.as_planned for part in parts) else 1


def conclude_changes(parts: Sequence[Part], voice: Voice, *, all_pairs: bool = False) -> bool:
    """Tell what a run would do; return whether that is anything. Raises what ended a part early."""
    seen = [(part, part.changes) for part in parts if part.changes is not None]
    if voice.as_json and seen:
        documents = [changes_document(changes, part.labels) for part, changes in seen]
        voice.print_json(documents[0] if len(parts) == 1 else {"clouds": documents})
    elif not voice.as_json:
        for part, changes in seen:
            voice.conclude_changes(changes, part.labels, everything=all_pairs, heading=len(parts) > 1)
    _raise_first(parts)
    return any(changes.any for _, changes in seen)


def conclude_comparisons(found: Mapping[str | None, Comparison], voice: Voice) -> int:
    """Tell how the clouds differ from a plan; return 0 where nothing is missing, else 1."""
    if voice.as_json:
        documents = [(cloud, comparison_document(comparison)) for cloud, comparison in found.items()]
        several = {"clouds": [{"cloud": cloud, **document} for cloud, document in documents]}
        voice.print_json(several if len(documents) > 1 else documents[0][1])
    else:
        for cloud, comparison in found.items():
            voice.conclude_comparison(comparison, cloud=cloud if len(found) > 1 else None)
    return 0 if all(comparison.complete for comparison in found.values()) else 1


def _document(parts: Sequence[Part]) -> dict[str, Any]:
    """Return the object of `--json`: of several clouds the sums, with each of them in `clouds`."""
    documents = [
        {
            **summary_document(part.summary),
            **({"verify": comparison_document(part.comparison)} if part.comparison is not None else {}),
        }
        for part in parts
        if part.summary is not None
    ]
    if len(parts) == 1:
        return documents[0]
    summaries = [part.summary for part in parts if part.summary is not None]
    clouds = [part.cloud for part in parts if part.summary is not None]
    return {
        **summary_document(merged(summaries)),
        "clouds": [{"cloud": cloud, **document} for cloud, document in zip(clouds, documents, strict=True)],
    }


def _raise_first(parts: Sequence[Part]) -> None:
    """Raise what ended a part early; where that befell several, tell of the others first."""
    ended = [(part.cloud, part.error) for part in parts if part.error is not None]
    if not ended:
        return
    if len(parts) == 1:
        raise ended[0][1]
    for cloud, error in ended[1:]:
        click.echo(f"bulkshare: cloud {cloud}: {error}", err=True)
    cloud, error = ended[0]
    raise type(error)(f"cloud {cloud}: {error}") from error
