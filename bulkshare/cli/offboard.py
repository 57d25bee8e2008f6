"""The command that takes a project out of all images of an account: offboard. Returns its exit status."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from bulkshare.cli.exit_status import ExitStatus
from bulkshare.cli.ledger import replacing
from bulkshare.cli.notify import NotifyOptions
from bulkshare.cli.run import STOP_SIGNALS, carry_out, print_results, raise_first, read_options
from bulkshare.cloud.config import cloud_names
from bulkshare.errors import UsageError
from bulkshare.operations.execute import run_async
from bulkshare.operations.offboard import (
    certificate_of,
    find_memberships,
    known_plans,
    leaving,
    plans_naming,
    read_plans,
    removal_plan,
    unknown_ids,
)
from bulkshare.plan.arguments import project_arguments
from bulkshare.plan.lists import LOOKS_LIKE_AN_ID
from bulkshare.report.certificate import certificate_text
from bulkshare.text import clean, counted

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence
    from pathlib import Path

    from bulkshare.cli.console import ConsoleListener
    from bulkshare.model import Plan
    from bulkshare.operations.offboard import Found
    from bulkshare.operations.results import CloudResult
    from bulkshare.report.certificate import Certificate, NamedIn


def offboard_command(
    project: str,
    *,
    all_clouds: bool,
    clouds: tuple[str, ...],
    plans: tuple[Path, ...],
    certificate: Path | None,
    dry_run: bool,
    out: Path | None,
    yes: bool,
    **given: Any,
) -> int:
    """Remove a project from all images; write a certificate unless it is a dry run. Raises `BulkshareError`."""
    projects = leaving(project_arguments([project], disabled_too=True))
    looking = dry_run or out is not None
    if certificate is not None and not looking:
        _require_new(certificate)
    asked_plans = read_plans(plans)
    where = _clouds(asked_plans.values(), clouds, all_clouds=all_clouds)
    looking_options = dict(given)
    NotifyOptions.among(looking_options)  # for the run
    options, listener = read_options(looking_options)
    look = partial(find_memberships, projects, where, options, listener, signals=STOP_SIGNALS)
    before = run_async(look)
    _require_found(project, before)
    _require_ids(before)
    unread: list[str] = []
    again = {path.resolve() for path in asked_plans}
    known = {path: plan for path, plan in known_plans(given["ledger"], unread).items() if path.resolve() not in again}
    named = plans_naming(before, known | asked_plans)
    asked = project if project != "-" else ", ".join(map(str, projects))
    _warn(asked, before, named, listener)
    certify = _Certifying(asked, before, look, named, unread, certificate)
    plan = removal_plan(before)
    if plan.entries:
        whole, question = before.is_whole, "Remove these members?"
        return carry_out(
            plan, dry_run=dry_run, out=out, question=question, yes=yes, whole=whole, conclude=certify, **given
        )
    if not looking:
        return certify([], listener)
    images = sum(listing.images for listing in before.listings.values())
    listener.note(f"{clean(asked)} is a member of none of {counted(images, 'image')}: there is nothing to remove")
    return ExitStatus.AS_PLANNED if before.is_whole else ExitStatus.CANT_BE_DONE


@dataclass(frozen=True, slots=True)
class _Certifying:
    """Concludes an offboarding: lists again, and writes the certificate to `file`, or prints it."""

    asked: str
    before: Found
    look: Callable[[], Coroutine[Any, Any, Found]]
    named: Sequence[NamedIn]
    unread: Sequence[str]
    file: Path | None

    def __call__(self, results: Sequence[CloudResult], listener: ConsoleListener) -> int:
        """Return the exit status. Raises the error that stopped a cloud: nothing is certified then."""
        if listener.form == "json":
            raise_first(results)
        elif results:
            print_results(results, listener)
        after = run_async(self.look) if results else self.before
        made = certificate_of(self.asked, self.before, after, results, plans=self.named, unread=self.unread)
        written = self._write(made, listener)
        listener.conclude_certificate(made, written=written)
        if written:
            listener.note(f"wrote {self.file}")
        return ExitStatus.AS_PLANNED if made.is_done and written is not False else ExitStatus.NOT_AS_PLANNED

    def _write(self, made: Certificate, listener: ConsoleListener) -> bool | None:
        """Write the certificate; return whether that was possible, None if there is no file for it.

        The members are gone, and nothing lists them again: what can't be written is printed.
        """
        if self.file is None:
            return None
        try:
            with replacing(self.file) as file:
                file.write(certificate_text(made, self.file.suffix.lower()))
        except UsageError as error:
            listener.warn(f"{error}; this is the certificate")
            return False
        return True


def _warn(asked: str, before: Found, named: Sequence[NamedIn], listener: ConsoleListener) -> None:
    for found in before.surveys:
        if found.error is not None:
            listener.warn(f"cloud {found.cloud}: {found.error}")
        elif unknown := unknown_ids(found):
            listener.warn(
                f"the identity service knows no project {', '.join(sorted(unknown))}: it was deleted, or never existed"
            )
    for each in named:
        listener.warn(
            f"a run of plan {each.plan}, which {each.how}, would make {clean(asked)} a member again: take it out of "
            f"{each.file}, or exclude it there with `except`"
        )


def _clouds(plans: Iterable[Plan], named: tuple[str, ...], *, all_clouds: bool) -> tuple[str, ...]:
    """Return the clouds.yaml entries to look at; empty: the one that the environment names."""
    if all_clouds:
        if named:
            raise UsageError("--all-clouds and --os-cloud are both given: leave out one of them")
        if not (known := tuple(cloud_names())):
            raise UsageError("--all-clouds: there is no clouds.yaml with an entry")
        return known
    return tuple(dict.fromkeys([*named, *(cloud for plan in plans for cloud in plan.clouds)]))


def _require_new(certificate: Path) -> None:
    """Raise `UsageError` if a certificate can't be written there, or would replace another one."""
    folder = certificate.absolute().parent
    if certificate.exists():
        raise UsageError(f"{certificate} exists, and a certificate replaces no other: give another name")
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"can't write the certificate to {certificate}: there is no such folder, or it is not ours")


def _require_found(project: str, before: Found) -> None:
    """Raise the first error if no cloud could be asked, or `UsageError` if none has such a project."""
    if any(found.sought for found in before.surveys):
        return
    for found in before.surveys:
        if found.error is not None:
            raise found.error
    raise UsageError(f"no project is named {clean(project)!r}; one that was deleted is known by its ID only: give that")


def _require_ids(before: Found) -> None:
    """Raise `UsageError` for what can't be the ID of a project that was deleted: a name that was given as an ID.

    No cloud has such a project or such a member, so a certificate would say that nothing is left of it.
    """
    if any(found.error is not None for found in before.surveys):
        return  # it may be known there
    unknown = frozenset.intersection(
        *(unknown_ids(found) for found in before.surveys if found.cloud in before.listings)
    )
    members = {one.project_id for listing in before.listings.values() for one in listing.memberships}
    if odd := sorted(each for each in unknown - members if LOOKS_LIKE_AN_ID.fullmatch(each) is None):
        raise UsageError(
            f"no project has the ID {', '.join(clean(each, 100) for each in odd)}, and no image such a member; a list "
            "on standard input has IDs: give names as arguments"
        )
