"""`bulkshare sandbox`: the embedded cloud as a server of its own."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import anyio
import click
import durationpy

from bulkshare.errors import UsageError
from bulkshare.sandbox import Cloud, FaultRule, Sandbox

if TYPE_CHECKING:
    from datetime import timedelta


def serve_sandbox(*, port: int, images: int, projects: int, quota: int, faults: tuple[str, ...], latency: str) -> None:
    """Serve until SIGINT or SIGTERM. Raises `UsageError` for a bad rule or duration, or a port that is taken."""
    try:
        rules = [FaultRule.parse(fault) for fault in faults]
    except ValueError as error:
        raise UsageError(f"--fault: {error}") from error
    try:
        delay: timedelta = durationpy.from_str(latency)
    except durationpy.DurationError as error:
        raise UsageError(f"--latency {latency}: {error}; write e.g. 20ms or 1.5s") from error
    cloud = Cloud.sample(images, projects, member_quota=quota)
    anyio.run(_serve, cloud, port, rules, delay.total_seconds())


async def _serve(cloud: Cloud, port: int, rules: list[FaultRule], latency_seconds: float) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        try:
            async with Sandbox(cloud, port=port, faults=rules, latency_seconds=latency_seconds) as sandbox:
                click.echo(sandbox.clouds_yaml())
                click.echo("Put this into clouds.yaml and use it with --os-cloud sandbox. Ctrl-C ends it.", err=True)
                async for _ in signals:
                    break
        except OSError as error:
            raise UsageError(f"port {port} can't be used: {error.strerror}") from error
