"""Makes the calls about sharing with openstacksdk, extended for Open Telekom Cloud, and prints the answers as JSON.

Run as a program, beside a clouds.yaml with the entry `sandbox`: the ID of another project.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import openstack


def main(project: str) -> None:
    """Call and print."""
    connection: Any = openstack.connect("sandbox", vendor_hook="otcextensions.sdk:load")
    images = connection.image
    answers: dict[str, Any] = {"project": connection.current_project_id}
    image = next(images.images())
    member = images.add_member(image, member_id=project)
    answers["added"] = [member.member_id, member.status]
    answers["members"] = [each.member_id for each in images.members(image)]
    images.remove_member(member, image)
    answers["removed"] = [each.member_id for each in images.members(image)]
    body = {"images": [image.id], "projects": [project]}
    done = connection.imsv1.post("/cloudimages/members", json=body)
    answers["batch"] = done.status_code
    answers["job"] = connection.imsv1.get_async_job(done.json()["job_id"]).status
    answers["batched"] = [each.member_id for each in images.members(image)]
    answers["images"] = [each.id for each in connection.imsv2.images()]
    print(json.dumps(answers))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
