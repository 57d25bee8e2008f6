"""A plan file -> `Plan`, or every problem with its position. Offline: nothing here knows the cloud."""

from __future__ import annotations

import difflib
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bulkshare.errors import PlanError
from bulkshare.model import Entry, Limits, Notify, Plan, Problem, Receive, RetryPolicy, Want, Webhook
from bulkshare.plan import lists
from bulkshare.plan.groups import Lists, image_selector, project_selector
from bulkshare.plan.messages import validate
from bulkshare.plan.schema import FOR_PROJECTS
from bulkshare.plan.yaml import LARGEST, UnreadableError, read_bytes, read_document, require_small
from bulkshare.text import clean

if TYPE_CHECKING:
    from bulkshare.plan.schema import EntrySection, NotifySection, PlanFile
    from bulkshare.plan.yaml import Document, Location

STANDARD_INPUT = Path("-")
SAVED_MARK = "bulkshare_saved_plan"  # the key that distinguishes a file made by `diff --out` from a plan


def read_plan(path: Path) -> bytes:
    """Return what a plan file contains, or standard input for `-`: a pipe can be read only once. Raises `PlanError`."""
    try:
        return require_small(sys.stdin.buffer.read(LARGEST + 1)) if path == STANDARD_INPUT else read_bytes(path)
    except UnreadableError as error:
        raise PlanError([Problem(_shown(path), None, None, str(error))]) from None


def _shown(path: Path) -> str:
    return "standard input" if path == STANDARD_INPUT else clean(str(path), 1000)


def is_piped(path: Path) -> bool:
    """Whether a plan comes from a pipe: it has no folder, and can't be edited."""
    return path == STANDARD_INPUT or any(path.is_relative_to(folder) for folder in ("/dev", "/proc"))


def _folder(path: Path) -> Path:
    """Return the folder of a plan's lists: the plan's own, or the current one for a plan from a pipe."""
    return Path() if is_piped(path) else path.parent


def load_plan(path: Path, raw: bytes | None = None, *, piped: bool = True) -> Plan:
    """Read a plan and the lists it names. Raises `PlanError` with every problem, in the order of the file.

    raw: what `read_plan` returned for `path`, if it has been called already.
    piped: a list may come from standard input, unless the plan does.
    """
    problems: list[Problem] = []
    name = _shown(path)
    document = read_document(read_plan(path) if raw is None else raw, name, problems)
    if document is None:
        raise PlanError(problems)
    if isinstance(document.data, dict) and SAVED_MARK in document.data:
        message = "this is a saved plan, which only `bulkshare run` accepts; use the plan it was made from"
        raise PlanError([document.problem((), message)])
    plan = resolve(
        validate(document, problems),
        document,
        _folder(path),
        problems,
        piped=piped and path not in {STANDARD_INPUT, lists.STANDARD_INPUT},
    )
    if plan is None or problems:
        raise PlanError(_in_order(problems, name))
    return plan


def clouds_of(document: Document, problems: list[Problem]) -> tuple[str, ...]:
    """Return the clouds that the plan names, if any. Problems are added to `problems`."""
    data = document.data if isinstance(document.data, dict) else {}
    listed = _texts(data.get("clouds"))
    if "cloud" in data and "clouds" in data:
        problems.append(document.problem(("clouds",), "`cloud` and `clouds` are both present; keep one", at_key=True))
        return ()
    for number, cloud in enumerate(listed):
        if cloud is not None and cloud in listed[:number]:
            problems.append(document.problem(("clouds", number), f"{clean(cloud, 60)!r} is repeated; keep one"))
    known = dict.fromkeys(cloud for cloud in _texts([data.get("cloud"), *listed]) if cloud)
    entries = _clouds_of_entries(data)
    if "cloud" in data or "clouds" in data:
        _check_entries(entries, list(known), document, problems)
        return tuple(known)
    if any(entries.values()):
        for at, cloud in entries.items():
            if not cloud:
                message = "has no `cloud`, but other entries do; add it, or list all clouds in `clouds` at the top"
                problems.append(document.problem(at, message))
    return tuple(dict.fromkeys(cloud for cloud in entries.values() if cloud))


def _check_entries(
    entries: dict[Location, str | None], known: list[str], document: Document, problems: list[Problem]
) -> None:
    if not known:  # invalid, and already reported
        return
    for at, cloud in entries.items():
        if cloud and cloud not in known:
            near = difflib.get_close_matches(cloud, known, n=1, cutoff=0.5)
            hint = f"did you mean {clean(near[0], 60)!r}?" if near else f"they are: {clean(', '.join(known))}"
            message = f"{clean(cloud, 60)!r} is not one of the plan's clouds; {hint}"
            problems.append(document.problem((*at, "cloud"), message))
    named = set(entries.values())
    idle = [cloud for cloud in known if None not in named and cloud not in named]
    for cloud in idle if entries else ():
        at = ("clouds", known.index(cloud)) if "clouds" in document.data else ("cloud",)
        problems.append(document.problem(at, f"no entry is for {clean(cloud, 60)!r}; remove it, or add an entry"))


def _texts(value: Any) -> list[str | None]:
    return [item if isinstance(item, str) else None for item in value] if isinstance(value, list) else []


def _clouds_of_entries(data: dict[str, Any]) -> dict[Location, str | None]:
    """Return the cloud of each entry, by the entry's location; None if it names none."""
    found: dict[Location, str | None] = {}
    for key in ("share", "receive"):
        sections = data.get(key)
        for number, section in enumerate(sections if isinstance(sections, list) else ()):
            cloud = section.get("cloud") if isinstance(section, dict) else None
            found[key, number] = cloud if isinstance(cloud, str) else None
    return found


def resolve(
    file: PlanFile | None, document: Document, folder: Path, problems: list[Problem], *, piped: bool = True
) -> Plan | None:
    """Return the plan, which is usable only if no problem was added to `problems`. Files are relative to `folder`.

    `file` is None if the schema found problems: then this only looks for more of them, and returns None.
    """
    names: dict[str, str] = {}
    images = Lists("images", image_selector, document, folder, problems, names, piped=piped)
    projects = Lists("projects", project_selector, document, folder, problems, names, piped=piped)
    entries = []
    share = document.data.get("share") if isinstance(document.data, dict) else None
    for number, section in enumerate(share if isinstance(share, list) else ()):
        if not isinstance(section, dict):
            continue
        at: Location = ("share", number)
        before = len(problems)
        entry = Entry(
            images=images.items(section.get("images"), (*at, "images")),
            projects=projects.items(section.get("projects"), (*at, "projects")),
            excluded=projects.item_set(section.get("except"), (*at, "except")),
            keep=projects.item_set(section.get("keep"), (*at, "keep")),
        )
        if section.get("projects") == []:
            problems += _for_no_one(section, at, document)
        if file is None:
            continue
        entries.append(_with_orders(entry, file.share[number]))
        if len(problems) == before and entry.projects and entry.excluded.issuperset(entry.projects):
            problems.append(document.problem((*at, "except"), "leaves no project; remove the entry"))
    receive = []
    asked = document.data.get("receive") if isinstance(document.data, dict) else None
    for number, section in enumerate(asked if isinstance(asked, list) else ()):
        if not isinstance(section, dict):
            continue
        at = ("receive", number)
        named = images.items(section.get("images"), (*at, "images"))
        owners = projects.items(section.get("from"), (*at, "from"))
        if file is not None:
            how = file.receive[number]
            receive.append(Receive(named, owners, how.status == "rejected", how.hide, how.cloud or None))
    clouds = clouds_of(document, problems)
    if file is None:
        return None
    images.report_unused()
    projects.report_unused()
    limits, retry = file.limits, file.retry
    return Plan(
        name=file.name,
        entries=tuple(entries),
        clouds=clouds,
        region=file.region or None,
        limits=Limits(
            limits.concurrency,
            limits.rate,
            limits.per_image,
            limits.most_members,
            limits.batch,
            limits.jobs,
        ),
        retry=RetryPolicy(retry.attempts, retry.base, retry.cap),
        check_projects=file.check_projects,
        strict=file.strict,
        receive=tuple(receive),
        api=file.api,
        prune_limit=file.prune_limit,
        names=names,
        notify=_notify(file.notify, folder) if "notify" in file.model_fields_set else None,
    )


def _for_no_one(section: dict[str, Any], at: Location, document: Document) -> list[Problem]:
    """Return what is wrong with an entry whose list of projects is empty."""
    if str(section.get("prune")).lower() != "true":
        message = "the list is empty; add at least one item, or `prune: true` if no project is to have the images"
        return [document.problem((*at, "projects"), message)]
    return [
        document.problem((*at, key), f"`{key}` needs projects; add some, or remove this", at_key=True)
        for key in FOR_PROJECTS
        if key in section
    ]


def _notify(section: NotifySection, folder: Path) -> Notify:
    """Return who is to be notified. Paths are relative to the plan's folder; a bare name is looked up in PATH."""
    notify = Notify(on=frozenset(section.on), timeout_seconds=section.timeout)
    if section.command:
        program, *arguments = section.command
        program = str((folder / program).absolute()) if "/" in program else program
        notify = replace(notify, command=(program, *arguments))
    if "webhook" in section.model_fields_set:
        webhook = section.webhook
        file = str((folder / webhook.file).absolute()) if webhook.file else None
        notify = replace(notify, webhook=Webhook(webhook.from_env or None, file), format=webhook.form)
    return notify


def _with_orders(entry: Entry, section: EntrySection) -> Entry:
    """Return the entry with what its section wants of pairs and images."""
    want = Want.MEMBER
    if section.accept:
        want |= Want.ACCEPTED
    if section.accept == "force":
        want |= Want.FORCED
    return replace(
        entry,
        want=want,
        accept_as_project={"self": False, "project": True}.get(section.accept_as),
        prune=section.prune,
        fill=section.on_quota == "fill",
        make_shared=section.make_shared,
        cloud=section.cloud or None,
        prune_limit=section.prune_limit,
    )


def _in_order(problems: list[Problem], name: str) -> list[Problem]:
    """Return each problem once: the plan's own by position, then those of its lists as they were found."""
    once = dict.fromkeys(problems)
    own = sorted((problem for problem in once if problem.file == name), key=_place)
    return [*own, *(problem for problem in once if problem.file != name)]


def _place(problem: Problem) -> tuple[int, int]:
    return problem.line or 0, problem.column or 0
