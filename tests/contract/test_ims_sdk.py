"""Huawei Cloud's own SDK against the sandbox: what it accepts, and signs, is what its service is said to do."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from bulkshare.sandbox import Behaviour, Cloud, Dialect, Sandbox
from bulkshare.sandbox.cloud import ACCESS_KEY, SECRET_KEY

CLIENT = Path(__file__).with_name("ims_client.py")


async def call(sandbox: Sandbox, *, secret: str = SECRET_KEY) -> subprocess.CompletedProcess[str]:
    """Run all calls of the SDK about one image and two projects."""
    cloud = sandbox.cloud
    (image_id,) = cloud.images
    others = [project_id for project_id in cloud.projects if project_id != cloud.admin_project.id]
    words = [sandbox.endpoint, ACCESS_KEY, secret, cloud.admin_project.id, image_id, *others]
    command = [sys.executable, str(CLIENT), *words]
    return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)


async def test_every_call_about_sharing() -> None:
    """Signatures of GETs with a query, of POSTs and of DELETEs with a body are checked; every answer is understood."""
    async with Sandbox(Cloud.sample(1, 2), dialect=Dialect.HUAWEI) as sandbox:
        done = await call(sandbox)
        assert done.returncode == 0, done.stderr
        (image,) = sandbox.cloud.images.values()
        answers = json.loads(done.stdout)
    one, other = sorted(member["member_id"] for member in answers["own list"]["members"])
    assert answers["progress"]["status"] == answers["job"]["status"] == "SUCCESS"
    assert {result["project_id"] for result in answers["job"]["entities"]["results"]} == {one, other}
    assert [len(answers[name]["members"]) for name in ("page", "rest")] == [1, 1]
    assert answers["page"]["page_info"]["next_marker"]
    quotas = {quota["type"]: quota["quota"] for quota in answers["quota"]["quotas"]["resources"]}
    assert quotas["image_member"] == 128
    assert [found["id"] for found in answers["images"]["images"]] == [image.id]
    assert answers["native"]["status"] == "pending"
    assert len(answers["left"]["members"]) == 1
    assert answers["refusal"] == [400, "IMG.0066"]


@pytest.mark.parametrize("results", ["images", "none"])
async def test_a_job_without_all_results(results: str) -> None:
    """The SDK takes what the documentation's examples show: no projects, or nothing at all."""
    behaviour = Behaviour(results=results)
    async with Sandbox(Cloud.sample(1, 2), dialect=Dialect.HUAWEI, behaviour=behaviour) as sandbox:
        done = await call(sandbox)
    assert done.returncode == 0, done.stderr


async def test_a_wrong_secret_is_refused() -> None:
    """So the signatures above were checked."""
    async with Sandbox(Cloud.sample(1, 2), dialect=Dialect.HUAWEI) as sandbox:
        done = await call(sandbox, secret="another")
    assert "APIGW.0301" in done.stderr
