"""The clouds of a plan side by side: each is logged in to and asked what the plan means there; then all begin."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from bulkshare.app.clouds import cloud_names, open_line, sign_in
from bulkshare.app.preparing import prepare
from bulkshare.errors import BulkshareError, PlanError, UsageError
from bulkshare.model import Settings
from bulkshare.selection import for_cloud

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bulkshare.app.clouds import Line
    from bulkshare.app.preparing import Prepared
    from bulkshare.app.voice import Voice
    from bulkshare.app.work import Effort
    from bulkshare.identity import CloudIdentity
    from bulkshare.model import Account, Plan, Problem


@dataclass(frozen=True, slots=True)
class Site:
    """A cloud that is ready for work. `cloud` is the clouds.yaml entry, None for the OS_* variables or a sandbox.

    `label` is its name where the plan has several, else "".
    """

    cloud: str | None
    label: str
    settings: Settings
    identity: CloudIdentity
    line: Line
    prepared: Prepared
    voice: Voice

    @property
    def account(self) -> Account:
        """As whom and where the run acts."""
        return self.identity.account


async def on_each_cloud(
    plan: Plan,
    action: Callable[[Site], Awaitable[None]],
    voice: Voice,
    *,
    approve: Callable[[Site], Awaitable[None]] | None = None,
    os_cloud: str | None,
    sandbox: bool,
    effort: Effort,
    prune_all: bool = False,
) -> dict[str | None, BulkshareError | None]:
    """Do something on each of a plan's clouds; return what ended it early there, by cloud.

    A cloud that can't be reached keeps no other from its work. Raises `PlanError` or `UsageError`, before anything is
    done anywhere, where the plan does not fit one of them, `approve` raises that for one, or two are the same place.
    """
    names: tuple[str | None, ...] = (None,) if sandbox else cloud_names(plan.clouds, os_cloud)
    errors: dict[str | None, BulkshareError | None] = dict.fromkeys(names)
    start = _Start(len(names))

    async def visit(cloud: str | None) -> None:
        settings = Settings(
            cloud=cloud, region=plan.region, sandbox=sandbox, limits=effort.limits(plan.limits), retry=plan.retry
        )
        arrived = False
        part = plan if cloud is None else for_cloud(plan, cloud)
        try:
            with ExitStack() as waiting:
                waiting.enter_context(voice.waiting(f"logging in to {cloud or ('a sandbox' * sandbox) or 'the cloud'}"))
                async with (
                    sign_in(settings, part) as identity,
                    open_line(identity, settings.limits, give_up_after_seconds=effort.give_up_after_seconds) as line,
                ):
                    prepared = await prepare(
                        part, identity.account, line, identity.directory(), voice, prune_all=prune_all
                    )
                    waiting.close()
                    label = cloud or "" if len(plan.clouds) > 1 else ""
                    site = Site(cloud, label, settings, identity, line, prepared, voice)
                    if approve is not None:
                        await approve(site)
                    arrived = True
                    if await start.ready(site):
                        await action(site)
        except BulkshareError as error:
            errors[cloud] = error
            if not arrived:
                start.failed(error)

    async with anyio.create_task_group() as visits:
        for name in names:
            visits.start_soon(visit, name)
    start.raise_problems()
    return errors


class _Start:
    """Lets all begin together, or nobody where the plan does not fit one of the clouds."""

    def __init__(self, expected: int) -> None:
        self._missing = expected
        self._all_here = anyio.Event()
        self._problems: list[Problem] = []
        self._errors: list[UsageError] = []
        self._places: dict[tuple[str, str], Site] = {}

    def failed(self, error: BulkshareError) -> None:
        """Take note of a cloud that does not begin."""
        if isinstance(error, PlanError):
            self._problems += error.problems
        elif isinstance(error, UsageError):
            self._errors.append(error)
        self._arrived()

    async def ready(self, site: Site) -> bool:
        """Wait for the others; return whether to begin."""
        account = site.account
        other = self._places.setdefault((account.endpoint, account.project_id), site)
        if other is not site:  # each would send the pairs of both, and remove what the other adds
            both = f"clouds {other.cloud} and {site.cloud}"
            self._errors.append(
                UsageError(
                    f"{both} are the same place: project {account.project} at {account.endpoint}; name one of them, or "
                    "give each its region_name"
                )
            )
        self._arrived()
        await self._all_here.wait()
        return not (self._problems or self._errors)

    def raise_problems(self) -> None:
        """Raise what kept all from beginning."""
        if self._problems:
            raise PlanError(list(dict.fromkeys(self._problems)))
        if self._errors:
            raise self._errors[0]

    def _arrived(self) -> None:
        self._missing -= 1
        if not self._missing:
            self._all_here.set()
