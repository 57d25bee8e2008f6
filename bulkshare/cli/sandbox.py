"""`bulkshare sandbox`: the embedded cloud as a server of its own."""

from __future__ import annotations

import signal

import anyio
import click

from bulkshare.errors import UsageError
from bulkshare.sandbox import Cloud, FaultRule, Sandbox


def serve_sandbox(
    *, port: int, images: int, projects: int, example: bool, quota: int, faults: tuple[str, ...], latency_seconds: float
) -> None:
    """Serve until SIGINT or SIGTERM. Raises `UsageError` for an invalid rule or a port that can't be used.

    port: 0 for a free one.
    example: serve the images and projects of the example plan instead of `images` and `projects` made-up ones.
    quota: members an image may have; -1: any number.
    faults: rules for failing requests; see `FaultRule`.
    latency_seconds: delay of each answer.
    """
    try:
        rules = [FaultRule.parse(fault) for fault in faults]
    except ValueError as error:
        raise UsageError(f"--fault: {error}") from error
    cloud = Cloud.example(member_quota=quota) if example else Cloud.sample(images, projects, member_quota=quota)
    anyio.run(_serve, cloud, port, rules, latency_seconds)


async def _serve(cloud: Cloud, port: int, rules: list[FaultRule], latency_seconds: float) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        try:
            async with Sandbox(cloud, port=port, faults=rules, latency_seconds=latency_seconds) as sandbox:
                click.echo(sandbox.clouds_yaml())
                click.echo(
                    "Save this as clouds.yaml and use it with --os-cloud sandbox. Press Ctrl-C to stop.", err=True
                )
                async for _ in signals:
                    break
        except OSError as error:
            raise UsageError(f"port {port} can't be used: {error.strerror}") from error
