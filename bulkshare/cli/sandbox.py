"""`bulkshare sandbox`: the embedded cloud as a server of its own."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

import anyio
import click

from bulkshare.cli.exit_status import is_terminal
from bulkshare.errors import UsageError
from bulkshare.sandbox import Behaviour, Cloud, Dialect, Sandbox
from bulkshare.sandbox.cloud import CUSTOMERS, GLANCE_MEMBER_QUOTA
from bulkshare.sandbox.ims import OTC_QUOTA

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bulkshare.sandbox import FaultRule, Image, Project
    from bulkshare.sandbox.cloud import User

MOST_LISTED = 10  # images or projects in the plan; it selects more of them by their tag


def serve_sandbox(
    *,
    port: int,
    images: int,
    projects: int,
    example: bool,
    quota: int | None,
    faults: tuple[FaultRule, ...],
    latency_seconds: float,
    dialect: str,
    answers: tuple[str, ...],
) -> None:
    """Serve until SIGINT or SIGTERM. Raises `UsageError` for a port that can't be used.

    port: 0 for a free one.
    example: serve the images and projects of the example plan instead of `images` and `projects` made-up ones.
    quota: members an image may have; -1: any number; None: as many as in the cloud that is played.
    faults: what fails.
    latency_seconds: delay of each answer.
    dialect: the cloud to play.
    answers: how it answers where the documentation is silent.
    """
    if quota is None:
        quota = OTC_QUOTA if dialect == Dialect.OTC else GLANCE_MEMBER_QUOTA
    cloud = Cloud.example(member_quota=quota) if example else Cloud.sample(images, projects, member_quota=quota)
    plan = example_plan(cloud, Dialect(dialect)) if example else plan_for(cloud, Dialect(dialect))
    sandbox = Sandbox(
        cloud,
        port=port,
        faults=faults,
        latency_seconds=latency_seconds,
        dialect=Dialect(dialect),
        behaviour=Behaviour.parse(answers),
    )
    try:
        anyio.run(_serve, sandbox, plan, _tenant(cloud))
    except OSError as error:
        raise UsageError(f"port {port} can't be used: {error.strerror}") from error


def _tenant(cloud: Cloud) -> tuple[User, Project] | None:
    """Add a user of the first project that images may be shared with; None if there is none."""
    project = next((each for each in cloud.projects.values() if each is not cloud.admin_project), None)
    return None if project is None else (cloud.add_user("tenant", {project.id: "member"}), project)


async def _serve(sandbox: Sandbox, plan: str, tenant: tuple[User, Project] | None) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with sandbox:
            click.echo(sandbox.clouds_yaml(tenant))
            click.echo(_instructions(plan, saved=not is_terminal(sys.stdout)), err=True)
            async for _ in signals:
                break


def _instructions(plan: str, *, saved: bool) -> str:
    """Return what to do with the clouds.yaml above, or in the file that stdout goes to."""
    save = "" if saved else "Save this as clouds.yaml. "
    if not plan:
        return f"{save}Name it with --os-cloud sandbox. Press Ctrl-C to stop."
    return (
        f"{save}A plan for it, to be saved as golden.yaml:\n\n{plan}\n"
        "In the same directory, in another terminal: bulkshare run golden.yaml\nPress Ctrl-C to stop the sandbox."
    )


HEAD = "version: 1\nname: golden\ncloud: sandbox\nshare:\n"


def example_plan(cloud: Cloud, dialect: Dialect) -> str:
    """Return in short what plans/golden-nightly.yaml does, for a cloud from `Cloud.example`."""
    projects = " [{domain: customers}]\n"
    if dialect is not Dialect.OPENSTACK:  # the projects of other accounts can't be looked up
        domain = cloud.add_domain(CUSTOMERS).id
        found = {key: each for key, each in cloud.projects.items() if each.domain_id == domain and each.enabled}
        projects = _items(found, "")
    return f"{HEAD}  - images: [{{name: 'ubuntu-*', tag: golden, latest: 2, per: os_version}}]\n    projects:{projects}"


def plan_for(cloud: Cloud, dialect: Dialect) -> str:
    """Return a plan that shares each image of a cloud from `Cloud.sample` with each project; "" if there is none."""
    projects = {key: project for key, project in cloud.projects.items() if project is not cloud.admin_project}
    if not cloud.images or not projects:
        return ""
    several = "tag: tenant" if dialect is Dialect.OPENSTACK else "name: 'project-*'"
    return f"{HEAD}  - images:{_items(cloud.images, 'tag: golden')}    projects:{_items(projects, several)}"


def _items(found: Mapping[str, Image] | Mapping[str, Project], selector: str) -> str:
    """Return items of a plan: IDs, or a selector if there are too many and one is given."""
    if len(found) > MOST_LISTED and selector:
        return f" [{{{selector}}}]  # {len(found):,} of them\n"
    return "\n" + "".join(f"      - {known_id}  # {item.name}\n" for known_id, item in found.items())
