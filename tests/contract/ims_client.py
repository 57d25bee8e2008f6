"""Makes every call of Huawei Cloud's own SDK that concerns sharing, and prints the answers as JSON.

Run as a program: endpoint, access key, secret key, project, image, two other projects.
"""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any

warnings.simplefilter("ignore")  # the SDK calls its native calls deprecated

from huaweicloudsdkcore.auth.credentials import BasicCredentials  # type: ignore[import-untyped]  # noqa: E402
from huaweicloudsdkcore.exceptions.exceptions import ServiceResponseException  # type: ignore[import-untyped]  # noqa: E402
from huaweicloudsdkims.v2 import ImsClient  # type: ignore[import-untyped]  # noqa: E402
from huaweicloudsdkims.v2 import model as ims  # noqa: E402


def main(endpoint: str, access: str, secret: str, project: str, image: str, *others: str) -> None:
    """Call and print."""
    client = (
        ImsClient.new_builder()
        .with_credentials(BasicCredentials(access, secret, project))
        .with_endpoint(endpoint)
        .build()
    )
    answers: dict[str, Any] = {}

    def call(name: str, answer: Any) -> Any:
        answers[name] = json.loads(str(answer))
        return answer

    batch = ims.BatchAddMembersRequestBody(images=[image], projects=list(others))
    job = call("add", client.batch_add_members(ims.BatchAddMembersRequest(body=batch)))
    call("progress", client.show_job_progress(ims.ShowJobProgressRequest(job_id=job.job_id)))
    call("job", client.show_job(ims.ShowJobRequest(job_id=job.job_id)))
    first = client.glance_list_image_members(ims.GlanceListImageMembersRequest(image_id=image, limit=1))
    call("page", first)
    marker = first.page_info.next_marker
    call("rest", client.glance_list_image_members(ims.GlanceListImageMembersRequest(image_id=image, marker=marker)))
    call("own list", client.list_image_members(ims.ListImageMembersRequest(image_id=image)))
    call("quota", client.show_image_quota(ims.ShowImageQuotaRequest()))
    call("images", client.list_images(ims.ListImagesRequest(name="image-001")))
    gone = ims.BatchAddMembersRequestBody(images=[image], projects=list(others[:1]))
    call("remove", client.batch_delete_members(ims.BatchDeleteMembersRequest(body=gone)))
    member = ims.GlanceAddImageMemberRequestBody(member=others[0])
    call("native", client.glance_add_image_member(ims.GlanceAddImageMemberRequest(image_id=image, body=member)))
    client.glance_delete_image_member(ims.GlanceDeleteImageMemberRequest(image_id=image, member_id=others[0]))
    answers["left"] = json.loads(
        str(client.glance_list_image_members(ims.GlanceListImageMembersRequest(image_id=image)))
    )
    try:
        client.batch_add_members(
            ims.BatchAddMembersRequest(body=ims.BatchAddMembersRequestBody(images=["nope"], projects=list(others)))
        )
    except ServiceResponseException as error:
        answers["refusal"] = [error.status_code, error.error_code]
    print(json.dumps(answers))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
