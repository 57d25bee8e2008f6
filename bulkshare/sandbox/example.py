"""The world that the sandbox has to show: a small provider of golden images, and its customers' projects.

Pure data. Of each image series there are several builds, tagged `golden`; the newest of each is a few days old at any
time, so that selectors by age and by `latest` find something whenever it is tried. IDs don't depend on the time.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from bulkshare.sandbox.records import ImageSeed, ProjectSeed, stable_uuid

if TYPE_CHECKING:
    from datetime import datetime

CUSTOMERS = "customers"  # the domain of the customers' projects


class _Series(NamedTuple):
    """Images that are built again and again. `ages_days` has the age of each build, newest first."""

    name: str
    os_distro: str
    os_version: str
    ages_days: tuple[int, ...]
    tags: tuple[str, ...] = ("golden",)
    architecture: str = "x86_64"


SERIES = (
    _Series("ubuntu-24.04", "ubuntu", "24.04", (3, 10, 17, 24)),
    _Series("ubuntu-22.04", "ubuntu", "22.04", (3, 10, 17)),
    _Series("debian-12", "debian", "12", (5, 19, 33)),
    _Series("debian-13", "debian", "13", (5, 19)),
    _Series("windows-2025", "windows", "2025", (12, 40), ("golden", "licensed")),
)
TEAMS = ("team-a", "team-b", "team-c", "team-d", "team-e", "team-f")


def example_images(now: datetime) -> list[ImageSeed]:
    """Return the images as they are at `now`: a build's name ends with the day it was made, as in 20261101."""
    golden = [
        ImageSeed(
            name=f"{series.name}-{now - timedelta(days=age_days):%Y%m%d}",
            tags=series.tags,
            properties={
                "os_distro": series.os_distro,
                "os_version": series.os_version,
                "architecture": series.architecture,
            },
            created_at=now - timedelta(days=age_days),
            image_id=_image_id(f"{series.name} {number}"),
        )
        for series in SERIES
        for number, age_days in enumerate(series.ages_days)
    ]
    last_year = now - timedelta(days=365)
    debian = {"os_distro": "debian", "os_version": "13"}
    return [
        *golden,
        # Private until somebody opens it, still being built, and withdrawn: what a plan can stumble over.
        ImageSeed("debian-13-candidate", ("candidate",), debian, "private", image_id=_image_id("candidate")),
        ImageSeed("debian-13-building", ("golden",), debian, status="queued", image_id=_image_id("building")),
        ImageSeed(
            f"debian-11-{last_year:%Y%m%d}",
            ("golden", "withdrawn"),
            {"os_distro": "debian", "os_version": "11"},
            created_at=last_year,
            os_hidden=True,
            image_id=_image_id("withdrawn"),
        ),
        ImageSeed("rescue", ("tools",), {}, "public", created_at=last_year, image_id=_image_id("rescue")),
    ]


def example_projects() -> list[ProjectSeed]:
    """Return the projects: customers' teams, one with a child, some closed; and the provider's own."""
    return [
        *(ProjectSeed(name, CUSTOMERS, ("tenant", "eu" if number % 2 else "us")) for number, name in enumerate(TEAMS)),
        ProjectSeed("team-a-staging", CUSTOMERS, ("tenant", "staging"), parent="team-a"),
        ProjectSeed("team-gone", CUSTOMERS, ("tenant", "eu"), enabled=False),
        ProjectSeed("team-unpaid", CUSTOMERS, ("tenant", "us"), enabled=False),
        ProjectSeed("ci", tags=("internal",), description="Builds the images."),
        ProjectSeed("monitoring", tags=("internal",)),
    ]


def _image_id(known_as: str) -> str:
    return str(stable_uuid(f"example image {known_as}"))
