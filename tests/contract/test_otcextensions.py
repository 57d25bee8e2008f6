"""openstacksdk as extended for Open Telekom Cloud: against the sandbox, and as a log-in of bulkshare's."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from bulkshare.sandbox import Cloud, Dialect, Sandbox
from bulkshare.sandbox.cloud import PASSWORD
from tests.contract.otc_packages import otc_packages
from tests.databases import Missing

if TYPE_CHECKING:
    from bulkshare.sandbox.cloud import Project
    from tests.environment import Environment

CLIENT = Path(__file__).with_name("otc_client.py")


@pytest.fixture(scope="module")
def packages(environment: Environment) -> Path:
    """Return the directory of the extension."""
    try:
        return otc_packages(environment.cache, environment.variables)
    except Missing as missing:
        if environment.variables.get("CI"):
            pytest.fail(str(missing))
        pytest.skip(str(missing))


async def call(directory: Path, packages: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a directory with a clouds.yaml, so that it finds the extension."""
    environ = {**os.environ, "PYTHONPATH": str(packages), "OS_CLIENT_CONFIG_FILE": str(directory / "clouds.yaml")}
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, *words],
        cwd=directory,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )


async def test_log_in_members_and_batches(tmp_path: Path, packages: Path) -> None:
    """A token for a project without a domain; native calls, and a batch, with the older call for its job."""
    async with Sandbox(Cloud.sample(1, 1), dialect=Dialect.OTC) as sandbox:
        (tmp_path / "clouds.yaml").write_text(sandbox.clouds_yaml(), "utf-8")
        cloud = sandbox.cloud
        (other,) = (each for each in cloud.projects if each != cloud.admin_project.id)
        done = await call(tmp_path, packages, str(CLIENT), other)
        assert done.returncode == 0, done.stderr
        (image_id,) = cloud.images
    assert json.loads(done.stdout) == {
        "project": cloud.admin_project.id,
        "added": [other, "pending"],
        "members": [other],
        "removed": [],
        "batch": 200,
        "job": "SUCCESS",
        "batched": [other],
        "images": [image_id],
    }


def agency_entry(sandbox: Sandbox, project: Project) -> dict[str, Any]:
    """Return an entry of clouds.yaml as the extension's documentation spells it."""
    names = {"username": sandbox.cloud.admin.name, "password": PASSWORD, "user_domain_name": "Default"}
    target = {"target_agency_name": "sharing", "target_domain_name": "customer", "target_project_id": project.id}
    return {"auth_type": "agency", "auth": {"auth_url": sandbox.auth_url, **names, **target}}


@pytest.mark.parametrize("named", ["sharing", "another"])
async def test_a_run_by_an_agency(tmp_path: Path, packages: Path, named: str) -> None:
    """An agency lets a user share another account's images; a wrong name of the agency is refused."""
    cloud = Cloud.sample(0, 3)
    account = cloud.add_domain("customer")
    project = cloud.add_project("eu-de", domain=account)
    cloud.add_agency(named, account, {project.id: "member"})
    image = cloud.add_image("golden", owner=project.id)
    others = [each.id for each in cloud.projects.values() if each.name.startswith("project-")]
    async with Sandbox(cloud, dialect=Dialect.OTC) as sandbox:
        entry = agency_entry(sandbox, project)
        (tmp_path / "clouds.yaml").write_text(yaml.safe_dump({"clouds": {"x": entry}}), "utf-8")
        plan = {"version": 1, "name": "golden", "cloud": "x", "share": [{"images": [image.id], "projects": others}]}
        (tmp_path / "golden.yaml").write_text(yaml.safe_dump(plan), "utf-8")
        ledger = str(tmp_path / "ledger.db")
        done = await call(tmp_path, packages, "-m", "bulkshare", "run", "golden.yaml", "--ledger", ledger)
    if named == "sharing":
        assert done.returncode == 0, done.stderr
        assert set(image.rows) == set(others)
        assert "customer/sharing" in done.stdout + done.stderr
    else:
        assert done.returncode == 3, done.stderr
        assert not image.rows
