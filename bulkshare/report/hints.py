"""What to do about a reason why pairs are not as planned. Pure; a table, in the order in which it is read."""

from __future__ import annotations

import re

# Reasons are Glance's (or a gateway's) own words after the HTTP status, as `glance` has them, or our own.
_HINTS = tuple(
    (re.compile(pattern, re.IGNORECASE), hint)
    for pattern, hint in (
        (
            r"not accepted",
            "the project can use the image by its ID; to accept for it takes the role admin, or a role in the project "
            "and `accept_as: project`",
        ),
        (
            r"quota|limit exceeded|needs [\d,]+, has [\d,]+ of|^413",
            "remove members that are not needed any more (`prune: true`), share as many as fit (`on_quota: fill`), or "
            "have image_member_quota raised",
        ),
        (r"prune.limit", "look at them with `bulkshare diff`, then allow more with --prune-limit"),
        (r"owner", "a project has its own images anyway: leave it out with `except`"),
        (
            r"only shared images|not allowed to (create|list) members|not shared|is private|visibility",
            "`openstack image set --shared IMAGE`, or `make_shared: true` in the plan; public and community images are "
            "open to all projects without members",
        ),
        (r"not active|is queued|is deactivated", "share it again when its upload is complete and it is active"),
        (r"not authorized|^403", "the account has to own the image, or be an admin"),
        (r"^404", "no such image, or this account can't see it: look at its ID, and at whose image it is"),
        (r"^401", "the token was refused: look at the account's roles"),
        (r"^3\d\d", "the endpoint in the catalog is not the image service's own: correct it there, or in clouds.yaml"),
        (
            r"gave up|not known whether",
            "the cloud was in trouble: try again later, with `bulkshare run PLAN --retry-failed`",
        ),
    )
)


def hint_for(reason: str) -> str:
    """Return what may help against `reason`, without a full stop; empty where nobody knows."""
    return next((hint for pattern, hint in _HINTS if pattern.search(reason)), "")
