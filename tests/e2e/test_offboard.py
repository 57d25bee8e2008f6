"""`offboard` with several clouds, plans that still name the project, and what can't be checked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.sandbox_cloud import SandboxCloud
from tests.users import ADMIN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.shell import Shell

NOBODY = "http://127.0.0.1:1/v3"  # refuses connections


class Clouds:
    """Two clouds, `prod` and `test`; `prod` has a project `leaver` with two images, `test` has no such project.

    `again` is another entry for `prod`, `down` one whose Keystone is down.
    """

    def __init__(self, prod: SandboxCloud, test: SandboxCloud, shell: Shell) -> None:
        self.prod, self.shell = prod, shell
        self.leaver = prod.create_project("leaver")
        self.images = [prod.create_image(name, owner=ADMIN.name) for name in ("old", "new")]
        for image_id in self.images:
            prod.add_member(image_id, self.leaver)
        self._auth = {
            name: yaml.safe_load(cloud.write_clouds_yaml(shell.directory / f"{name}.yaml").read_text("utf-8"))[
                "clouds"
            ][ADMIN.name]
            for name, cloud in (("prod", prod), ("test", test))
        }

    def configure(self, *names: str) -> None:
        """Write a clouds.yaml with these entries."""
        entries = {
            **self._auth,
            "again": self._auth["prod"],
            "down": {**self._auth["prod"], "auth": {**self._auth["prod"]["auth"], "auth_url": NOBODY}},
        }
        config = {"clouds": {name: entries[name] for name in names}}
        self.shell.env["OS_CLIENT_CONFIG_FILE"] = str(self.shell.write("clouds.yaml", yaml.safe_dump(config)))

    def certificate(self, name: str) -> tuple[bool, dict[str, dict[str, object]]]:
        """Return whether a certificate is complete, and its clouds by name."""
        made = json.loads((self.shell.directory / name).read_text("utf-8"))
        return made["complete"], {part["cloud"]: part for part in made["clouds"]}


@pytest.fixture
def clouds(shell: Shell) -> Iterator[Clouds]:
    """Return the clouds."""
    with SandboxCloud() as prod, SandboxCloud() as test:
        yield Clouds(prod, test, shell)


def test_all_clouds(clouds: Clouds) -> None:
    """One that is the same place is listed once; one that has no such project, or is down, is not certified."""
    shell = clouds.shell
    clouds.configure("again", "down", "prod", "test")
    args = ("offboard", "leaver", "--all-clouds", "--give-up-after", "0s")
    done = shell.run(*args, "--certificate", "first.json", exit_code=1)
    assert "cloud down: " in done.stderr
    assert not any(clouds.prod.member_ids(image_id) for image_id in clouds.images)
    complete, parts = clouds.certificate("first.json")
    assert not complete
    assert {name: part["complete"] for name, part in parts.items()} == {
        "again": True,
        "down": False,
        "prod": True,
        "test": False,
    }
    assert parts["prod"]["same_as"] == "again"
    assert "no project of this name" in str(parts["test"]["not_checked"])
    assert "no token from the identity service" in str(parts["down"]["not_checked"])
    assert "replaces no other" in shell.run(*args, "--certificate", "first.json", exit_code=2).stderr
    clouds.configure("prod", "test")
    done = shell.run("offboard", clouds.leaver, "--os-cloud", "prod", "--os-cloud", "test")
    assert "Complete: no membership is left in 2 images" in done.stdout


def test_plans_that_still_name_it(clouds: Clouds) -> None:
    """Those that the ledger knows, and those that are named; their clouds count; what is saved is removed exactly."""
    shell = clouds.shell
    clouds.configure("prod")
    clouds.prod.disable_project(clouds.leaver)
    for name, projects in (("golden", clouds.leaver), ("other", "{name: 'l*'}")):
        entry = f"{{images: [{clouds.images[0]}], projects: [{projects}]}}"
        shell.write(f"{name}.yaml", f"version: 1\nname: {name}\ncloud: prod\nshare:\n  - {entry}\n")
    shell.run("run", "golden.yaml")
    shown = shell.run("offboard", "leaver", "--plan", "other.yaml", "-o", "saved.json", exit_code=10)
    assert "a run of plan golden, which names it, would make leaver a member again: take it out of " in shown.stderr
    assert "a run of plan other, which may choose it by {name: l*, enabled: true}, would make leaver" in shown.stderr
    assert shell.run_json("run", "saved.json")["removed"] == 2
    shell.write("golden.yaml", "no plan\n")
    last = json.loads(shell.run("offboard", "leaver", "--plan", "other.yaml", "--json").stdout)
    assert (last["complete"], [plan["plan"] for plan in last["plans"]]) == (True, ["other"])
    assert "golden.yaml" in last["plans_not_read"][0]
    missing = shell.run("offboard", "leavr", "--os-cloud", "prod", exit_code=2).stderr
    assert "no project is named 'leavr'" in missing
    for given, piped in (("-", "leaver\n"), ("id=leaver", "")):  # a name, which would be certified to be gone
        missing = shell.run("offboard", given, "--os-cloud", "prod", piped=piped, exit_code=2).stderr
        assert "no project has the ID leaver, and no image such a member" in missing


def test_a_certificate_that_can_not_be_written_is_printed(clouds: Clouds) -> None:
    """The members are gone by then, and no one could list them again."""
    clouds.configure("prod")
    too_long = f"{'c' * 250}.txt"
    done = clouds.shell.run("offboard", "leaver", "--os-cloud", "prod", "--certificate", too_long, "-q", exit_code=1)
    assert not any(clouds.prod.member_ids(image_id) for image_id in clouds.images)
    assert "File name too long; this is the certificate" in done.stderr
    assert all(image_id in done.stderr for image_id in clouds.images)
    assert "Traceback" not in done.stderr


def test_images_that_can_not_be_listed(shell: Shell) -> None:
    """They are named with the reason, and nothing is certified as complete."""
    shell.start_sandbox("--images", "2", "--projects", "1", "--fault", "GET members 403 100%")
    args = ("offboard", "project-001", "--os-cloud", "sandbox")
    out = shell.run(*args, exit_code=1).stdout
    assert out.count("not checked: image") == 2
    assert "Not complete: 1 cloud could not be checked as a whole" in out
    assert not shell.run(*args, "--dry-run", exit_code=11).stdout


def test_an_endpoint_that_goes_down_while_it_lists(shell: Shell) -> None:
    """Nothing is removed on the word of a part of the images."""
    shell.start_sandbox("--images", "2", "--projects", "1", "--fault", "GET members 500 100%")
    args = ("offboard", "project-001", "--yes", "--os-cloud", "sandbox", "--give-up-after", "0s")
    assert "not checked: the endpoint has not answered for too long" in shell.run(*args, exit_code=1).stdout


def test_batches(shell: Shell) -> None:
    """Huawei Cloud shares private images as they are: they are listed like any other."""
    shell.start_sandbox("--images", "2", "--projects", "2", "--dialect", "huawei")
    shell.run("share", "image-*", "--to", "project-001,project-002", "-q", "--os-cloud", "sandbox")
    made = json.loads(shell.run("offboard", "project-001", "--os-cloud", "sandbox", "--json").stdout)
    (part,) = made["clouds"]
    assert (made["complete"], len(part["before"]["memberships"]), part["after"]["private_images"]) == (True, 2, 0)
