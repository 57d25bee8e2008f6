"""The files in plans/deploy are well formed, and agree with each other and with commands, metrics and exit codes."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest
import yaml
from distributed.cli import dask_scheduler, dask_worker
from prometheus_client.parser import text_string_to_metric_families

from bulkshare.cli.exit_status import ExitStatus
from bulkshare.model import Result
from bulkshare.plan.load import load_plan
from bulkshare.progress.metrics import LastRun, write_metrics
from bulkshare.sandbox import Cloud
from tests.commands import parse_command
from tests.shell import COMMAND, UNKNOWN_IMAGE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.shell import Shell

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "plans/deploy"
PROGRAM = "/opt/bulkshare/bin/bulkshare"
CRON = r"(?:[\d*/,-]+ ){4}[\d*/,-]+"
MANIFESTS = sorted(FOLDER.glob("kubernetes*.yaml"))
OBJECTS = [document for path in MANIFESTS for document in yaml.safe_load_all(path.read_text("utf-8"))]
GITLAB_JOB = yaml.safe_load((FOLDER / "gitlab-ci.yml").read_text("utf-8"))["share"]
REVIEW_GITLAB = yaml.safe_load((FOLDER / "review-gitlab-ci.yml").read_text("utf-8"))
REVIEW_GITHUB = yaml.load((FOLDER / "review-github.yml").read_text("utf-8"), yaml.BaseLoader)  # noqa: S506  `on` is text
ALERTS = yaml.safe_load((FOLDER / "alerts.yml").read_text("utf-8"))

NEEDS_A_PERSON = {
    ExitStatus.NOT_AS_PLANNED,
    ExitStatus.BAD_USAGE,
    ExitStatus.REFUSED,
    ExitStatus.CLOUD_CHANGED,
    ExitStatus.LEDGER_UNUSABLE,
}
WORTH_A_RETRY = {ExitStatus.STOPPED_EARLY, ExitStatus.LOCK_HELD}


# A schema is a type, a pattern for a whole string, a list of one schema for all items, or a dict for a mapping.
# A key that ends with "!" is required; the key `str` stands for any other.
METADATA = {"name!": r"[a-z][a-z0-9-]*", "labels": {str: str}}
CONTAINER = {
    "name!": r"[a-z-]+",
    "image!": r"[a-z0-9./-]+:[\w.]+",
    "command": [str],
    "args": [str],
    "env": [{"name!": r"[A-Z_]+", "value!": str}],
    "securityContext": {
        "allowPrivilegeEscalation": bool,
        "readOnlyRootFilesystem": bool,
        "capabilities": {"drop": ["ALL"]},
    },
    "volumeMounts": [{"name!": str, "mountPath!": "/.*", "readOnly": bool}],
}
POD = {
    "restartPolicy": "Never|OnFailure|Always",
    "terminationGracePeriodSeconds": int,
    "automountServiceAccountToken": bool,
    "securityContext!": {
        "runAsNonRoot!": bool,
        "runAsUser!": int,
        "fsGroup": int,
        "seccompProfile": {"type!": "RuntimeDefault|Localhost|Unconfined"},
    },
    "containers!": [CONTAINER],
    "volumes": [
        {
            "name!": str,
            "persistentVolumeClaim": {"claimName!": str},
            "configMap": {"name!": str},
            "secret": {"secretName!": str},
            "emptyDir": {},
        }
    ],
}
FAILURE_RULE = {
    "action!": "FailJob|Ignore|Count",
    "onExitCodes!": {"containerName": str, "operator!": "In|NotIn", "values!": [int]},
}
KINDS: dict[str, Any] = {
    "PersistentVolumeClaim": {
        "apiVersion!": "v1",
        "spec!": {"accessModes!": ["ReadWriteOnce"], "resources!": {"requests!": {"storage!": r"\d+Gi"}}},
    },
    "ConfigMap": {"apiVersion!": "v1", "data!": {str: str}},
    "Secret": {"apiVersion!": "v1", "type": "Opaque", "stringData!": {str: str}},
    "Service": {"apiVersion!": "v1", "spec!": {"selector!": {str: str}, "ports!": [{"port!": int}]}},
    "CronJob": {
        "apiVersion!": "batch/v1",
        "spec!": {
            "schedule!": CRON,
            "concurrencyPolicy": "Allow|Forbid|Replace",
            "jobTemplate!": {
                "spec!": {
                    "backoffLimit": int,
                    "podFailurePolicy": {"rules!": [FAILURE_RULE]},
                    "template!": {"spec!": {**POD, "restartPolicy!": "Never"}},  # what podFailurePolicy requires
                },
            },
        },
    },
    "Deployment": {
        "apiVersion!": "apps/v1",
        "spec!": {
            "replicas": int,
            "selector!": {"matchLabels!": {str: str}},
            "template!": {"metadata!": {"labels!": {str: str}}, "spec!": POD},
        },
    },
}
JOB_SCHEMA = {
    "image!": {"name!": CONTAINER["image!"], "entrypoint!": [""]},
    "resource_group": str,
    "variables": {str: str},
    "cache": {"key!": str, "paths!": [str], "when": "on_success|on_failure|always"},
    "script!": [str],
    "after_script": [str],
    "retry": {"max!": int, "exit_codes": [int]},
    "artifacts": {"when": "on_success|on_failure|always", "paths!": [str]},
    "rules": [{"if!": str}],
}
RULES = [{"if!": str, "when": "always"}]
REVIEW_JOB_SCHEMA = {
    **JOB_SCHEMA,
    "image": JOB_SCHEMA["image!"],
    "stage!": "diff|comment|run",
    "needs": [str],
    "environment": str,
    "artifacts": {"when": "always", "expose_as": r"[\w ]+", "paths!": [str], "expire_in": str},
    "rules": RULES,
}
del REVIEW_JOB_SCHEMA["image!"]
STEP_SCHEMA = {
    "uses": r"actions/[a-z-]+@v\d+",
    "run": r"(?s).+",
    "if": str,
    "env": {str: str},
    "with": {str: str},
}
WORKFLOW_SCHEMA = {
    "name!": str,
    "on!": {"pull_request!": "", "push!": {"branches!": [str]}},
    "permissions!": {"contents!": "read"},
    "env": {str: str},
    "jobs!": {
        str: {
            "runs-on!": "ubuntu-latest",
            "needs": str,
            "if": str,
            "container": {"image!": CONTAINER["image!"], "options": str},
            "environment": str,
            "concurrency": str,
            "permissions": {str: "read|write"},
            "defaults": {"run!": {"shell!": "bash"}},
            "env": {str: str},
            "steps!": [STEP_SCHEMA],
        }
    },
}
ALERT_SCHEMA = {
    "groups!": [
        {
            "name!": str,
            "rules!": [
                {
                    "alert!": r"[A-Z]\w+",
                    "expr!": str,
                    "for": r"\d+[smhd]",
                    "labels": {str: str},
                    "annotations!": {"summary!": str},
                }
            ],
        }
    ]
}


def conform(value: Any, schema: Any, where: str) -> None:
    """Raise AssertionError, naming the place, if a value does not fit its schema."""
    if isinstance(schema, dict):
        assert isinstance(value, dict), where
        keys = {key.rstrip("!"): item for key, item in schema.items() if key is not str}
        assert {key[:-1] for key in schema if key is not str and key.endswith("!")} <= set(value), where
        for key, item in value.items():
            assert key in keys or str in schema, f"{where}.{key}"
            conform(item, keys[key] if key in keys else schema[str], f"{where}.{key}")
    elif isinstance(schema, list):
        assert isinstance(value, list), where
        assert value, where
        for number, item in enumerate(value):
            conform(item, schema[0], f"{where}[{number}]")
    elif isinstance(schema, type):
        assert type(value) is schema, where
    else:
        assert isinstance(value, str), where
        assert re.fullmatch(schema, value), where


def containers() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return every pod in the manifests with each of its containers."""
    specs = [item["spec"] for item in OBJECTS if item["kind"] in {"CronJob", "Deployment"}]
    pods = [spec.get("jobTemplate", {"spec": spec})["spec"]["template"]["spec"] for spec in specs]
    return [(pod, container) for pod in pods for container in pod["containers"]]


def unit(name: str) -> list[tuple[str, str]]:
    """Return the settings of a systemd unit, in order; a key may occur twice."""
    lines = (FOLDER / name).read_text("utf-8").splitlines()
    return [(key, value) for key, mark, value in (line.partition("=") for line in lines if line[:1] != "#") if mark]


def exec_starts() -> list[str]:
    """Return the command lines of the systemd files."""
    names = ("bulkshare.service", "bulkshare-metrics.conf")
    return [value for name in names for key, value in unit(name) if key == "ExecStart" and value]


def cron_lines() -> list[str]:
    """Return the lines of the crontab that are neither comments nor variables."""
    lines = (FOLDER / "crontab").read_text("utf-8").splitlines()
    return [line for line in lines if line and not re.match(r"#|[A-Z_]+=", line)]


def gitlab_script(job: str) -> str:
    """Return what a job of the GitLab review runs."""
    return "\n".join(REVIEW_GITLAB[job]["script"])


def github_script(job: str) -> str:
    """Return what the steps of a job of the GitHub review run, of those that need no secret."""
    steps = REVIEW_GITHUB["jobs"][job]["steps"]
    return "\n".join(step["run"] for step in steps if "run" in step and "env" not in step)


def run_commands() -> list[list[str]]:
    """Return each command line of bulkshare in any file, without the program."""
    lines = [line[line.index(PROGRAM) :] for line in (*exec_starts(), *cron_lines())]
    lines += [*GITLAB_JOB["script"], *GITLAB_JOB["after_script"]]
    scripts = [script for job in ("diff", "run") for script in (gitlab_script(job), github_script(job))]
    lines += [line for script in scripts for line in re.findall(r"\bbulkshare [^>|\n]+", script)]
    lines += REVIEW_GITLAB["run"]["after_script"]
    found = [shlex.split(line)[1:] for line in lines]
    return found + [container["args"] for _, container in containers() if "command" not in container]


def dockerfile() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile with their arguments."""
    text = (FOLDER / "Dockerfile").read_text("utf-8")
    joined = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    return [(name, value.strip()) for name, _, value in (line.partition(" ") for line in joined.splitlines() if line)]


def copied_sources() -> list[str]:
    """Return what the Dockerfile copies from the checkout."""
    copies = [value.split() for name, value in dockerfile() if name == "COPY" and not value.startswith("--from=")]
    return [source for words in copies for source in words[:-1]]


def test_every_file_is_explained() -> None:
    """The README of the folder has a link to each file in it, and to no other."""
    linked = set(re.findall(r"\]\(([\w.-]+)\)", (FOLDER / "README.md").read_text("utf-8")))
    assert linked == {path.name for path in FOLDER.iterdir()} - {"README.md"}


@pytest.mark.parametrize("words", run_commands(), ids=" ".join)
def test_commands_parse(words: list[str]) -> None:
    """Each command exists and takes these options and arguments."""
    assert parse_command(words).command.name in {"check", "diff", "run", "report"}


@pytest.mark.parametrize("line", ["runn golden.yaml", "run --no-such-option golden.yaml", "check", "ledger"])
def test_wrong_commands_do_not_parse(line: str) -> None:
    """The test above can fail."""
    with pytest.raises(click.UsageError):
        parse_command(line)


def verify_units(directory: Path) -> str:
    """Return what systemd-analyze says about the units, with a program that exists on this machine; empty if fine."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("needs systemd-analyze")
    drop_ins = directory / "bulkshare.service.d"
    drop_ins.mkdir()
    for source, target in (
        ("bulkshare.service", directory / "bulkshare.service"),
        ("bulkshare.timer", directory / "bulkshare.timer"),
        ("bulkshare-metrics.conf", drop_ins / "metrics.conf"),
    ):
        target.write_text((FOLDER / source).read_text("utf-8").replace(PROGRAM, sys.executable), "utf-8")
    units = [str(directory / name) for name in ("bulkshare.service", "bulkshare.timer")]
    done = subprocess.run(
        [program, "verify", "--man=no", *units], capture_output=True, text=True, check=False, timeout=60
    )
    return done.stdout + done.stderr


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    """Systemd has no complaint about the service with its drop-in, nor about the timer."""
    assert not verify_units(tmp_path)


def test_the_service_is_confined(tmp_path: Path) -> None:
    """Its exposure is at most 2 of 10, by systemd's own count."""
    assert not verify_units(tmp_path)
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=20", str(tmp_path / "bulkshare.service")],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if "unrecognized option" in done.stderr:
        pytest.skip("needs systemd-analyze of systemd 250")
    assert done.returncode == 0, done.stdout[-200:] + done.stderr


def test_the_drop_in_only_adds_metrics() -> None:
    """Its command is the service's with --metrics-file, in a directory that it may write."""
    plain, metered = (parse_command(shlex.split(line)[1:]).params for line in exec_starts())
    assert {key for key, value in metered.items() if value != plain[key]} == {"metrics_file"}
    assert str(Path(metered["metrics_file"]).parent) == dict(unit("bulkshare-metrics.conf"))["ReadWritePaths"]


def test_the_ledger_is_in_the_state_directory_of_systemd_and_the_image() -> None:
    """The ledger lies in the service's state directory, which the image has, too."""
    environment = [value for key, value in unit("bulkshare.service") if key == "Environment"]
    ledger = f"BULKSHARE_LEDGER=/var/lib/{dict(unit('bulkshare.service'))['StateDirectory']}/ledger.db"
    assert ledger in environment
    assert ("ENV", ledger) in dockerfile()
    assert ledger in (FOLDER / "crontab").read_text("utf-8").splitlines()


def test_the_crontab_is_for_cron_d() -> None:
    """A schedule, a user and a command without %, which cron would read as a line break."""
    (line,) = cron_lines()
    assert re.fullmatch(rf"{CRON} bulkshare {PROGRAM} [^%]+", line)


@pytest.mark.parametrize("item", OBJECTS, ids=lambda item: f"{item['kind']} {item['metadata']['name']}")
def test_manifests_fit_the_schema(item: dict[str, Any]) -> None:
    """Each Kubernetes object has the fields that its kind requires, and no other than those it may have."""
    conform(item, {"kind!": str, "metadata!": METADATA, **KINDS[item["kind"]]}, item["kind"])


def test_a_misspelt_field_does_not_fit() -> None:
    """The test above can fail: an unknown, a missing and a wrong value are named."""
    claim: dict[str, Any] = {"apiVersion": "v1", "spec": {"accessModes": ["ReadWriteOnce"], "resources": {}}}
    with pytest.raises(AssertionError, match="resources"):
        conform(claim, KINDS["PersistentVolumeClaim"], "claim")
    with pytest.raises(AssertionError, match=r"map\.dta"):
        conform({"apiVersion": "v1", "data": {"a": "b"}, "dta": {}}, KINDS["ConfigMap"], "map")
    with pytest.raises(AssertionError, match=r"map\.data\.a"):
        conform({"apiVersion": "v1", "data": {"a": 1}}, KINDS["ConfigMap"], "map")


def test_what_pods_mount_exists() -> None:
    """Every volume is mounted and declared, and refers to an object here, but for the fleet's certificates."""
    names = {(item["kind"], item["metadata"]["name"]) for item in OBJECTS} | {("Secret", "bulkshare-tls")}
    for pod, container in containers():
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
        for volume in volumes.values():
            if "persistentVolumeClaim" in volume:
                assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in names
            elif "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in names
            elif "secret" in volume:
                assert ("Secret", volume["secret"]["secretName"]) in names
            else:
                assert volume["emptyDir"] == {}


def test_paths_in_pods_are_mounted() -> None:
    """Every file that an argument or a variable names lies in a volume; a plan or a secret is a key of its object."""
    data = {item["metadata"]["name"]: item.get("data", item.get("stringData")) for item in OBJECTS}
    for pod, container in containers():
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
        words = [
            *container.get("command", ()),
            *container["args"],
            *(item["value"] for item in container.get("env", ())),
        ]
        for path in (Path(word) for word in words if word.startswith("/")):
            assert str(path.parent) in mounts
            volume = mounts[str(path.parent)]
            source = volume.get("configMap", {}).get("name") or volume.get("secret", {}).get("secretName")
            assert source in {None, "bulkshare-tls"} or path.name in data[source]


def test_selectors_select_pods() -> None:
    """A deployment selects its own pods, and the service those of the scheduler, on the port it listens on."""
    deployments = {item["metadata"]["name"]: item["spec"] for item in OBJECTS if item["kind"] == "Deployment"}
    for spec in deployments.values():
        assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    (service,) = [item for item in OBJECTS if item["kind"] == "Service"]
    scheduler = deployments[service["metadata"]["name"]]["template"]
    assert service["spec"]["selector"] == scheduler["metadata"]["labels"]
    port = str(service["spec"]["ports"][0]["port"])
    assert port in scheduler["spec"]["containers"][0]["command"]
    worker = deployments["bulkshare-worker"]["template"]["spec"]["containers"][0]
    assert f"tls://{service['metadata']['name']}:{port}" in worker["command"]


def test_dask_takes_the_options_of_the_fleet() -> None:
    """The scheduler's and the worker's options are options of Dask."""
    commands = {"scheduler": dask_scheduler.main, "worker": dask_worker.main}
    found = [container for _, container in containers() if "command" in container]
    assert [container["command"][:2] for container in found] == [["dask", "scheduler"], ["dask", "worker"]]
    for container in found:
        command = commands[container["command"][1]]
        known = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
        words = {word for word in (*container["command"], *container["args"]) if word.startswith("--")}
        assert words
        assert words <= known


def test_the_plan_and_the_clouds_are_good(tmp_path: Path) -> None:
    """The plan in the ConfigMap loads, and names a cloud that both files of the Secret have."""
    data = {item["kind"]: item.get("data", item.get("stringData")) for item in OBJECTS}
    path = tmp_path / "golden.yaml"
    path.write_text(data["ConfigMap"]["golden.yaml"], "utf-8")
    assert load_plan(path).name == "golden"
    cloud = yaml.safe_load(path.read_text("utf-8"))["cloud"]
    for text in data["Secret"].values():
        assert cloud in yaml.safe_load(text)["clouds"]


def test_the_gitlab_job_fits_the_schema() -> None:
    """A job with the keys that GitLab knows; its files are those that it writes and keeps."""
    conform(GITLAB_JOB, JOB_SCHEMA, "share")
    assert GITLAB_JOB["variables"]["BULKSHARE_LEDGER"].startswith(f"$CI_PROJECT_DIR/{GITLAB_JOB['cache']['paths'][0]}")
    (report,) = GITLAB_JOB["artifacts"]["paths"]
    assert report in GITLAB_JOB["after_script"][0].split()


def test_the_reviews_fit_the_schemas() -> None:
    """Their jobs have keys that GitLab and GitHub know, and need jobs that exist; what a job needs is kept for it."""
    jobs = {name: job for name, job in REVIEW_GITLAB.items() if isinstance(job, dict) and "stage" in job}
    for name, job in jobs.items():
        conform(job, REVIEW_JOB_SCHEMA, name)
        assert set(job.get("needs", ())) <= set(jobs)
        assert job["stage"] in REVIEW_GITLAB["stages"]
    assert REVIEW_GITLAB["diff"]["artifacts"]["paths"] == ["review.md", "saved.plan"]
    conform(REVIEW_GITHUB, WORKFLOW_SCHEMA, "review-github")
    for job in REVIEW_GITHUB["jobs"].values():
        assert job.get("needs", "diff") in REVIEW_GITHUB["jobs"]
    kept = [step["with"] for step in REVIEW_GITHUB["jobs"]["diff"]["steps"] if "upload" in step.get("uses", "")]
    assert [each["path"].split() for each in kept] == [["review.md", "saved.plan"]]


@pytest.mark.parametrize("script_of", [gitlab_script, github_script])
def test_a_review_shows_what_is_then_run(script_of: Callable[[str], str], shell: Shell) -> None:
    """The scripts of both jobs, one after the other, as a runner's shell runs them; then there is nothing to change."""
    shell.start_sandbox()
    shell.env |= {"PATH": f"{COMMAND.parent}:/usr/bin:/bin", "GITHUB_STEP_SUMMARY": "summary.md"}
    image = next(iter(Cloud.sample(1, 0).images))
    plan = shell.plan([image], ["project-001"], name="golden", more="cloud: sandbox\n")

    def play(job: str) -> int:
        script = ["bash", "-e", "-c", script_of(job)]
        done = subprocess.run(
            script, cwd=shell.directory, env={**os.environ, **shell.env}, capture_output=True, timeout=60, check=False
        )
        return done.returncode

    assert play("diff") == 0
    review = (shell.directory / "review.md").read_text("utf-8")
    assert "1 to add" in review
    assert image in review
    assert play("run") == 0
    assert "No changes" in shell.run("diff", plan).stdout
    shell.plan([UNKNOWN_IMAGE], ["project-001"], name="golden", more="cloud: sandbox\n")
    assert play("diff") != 0  # something can't be done: it is shown, and stops the merge
    assert "can't be listed" in (shell.directory / "review.md").read_text("utf-8")


def test_exit_codes_are_those_of_the_program() -> None:
    """All files agree on which codes are worth a retry and which need a person."""
    prevented = dict(unit("bulkshare.service"))["RestartPreventExitStatus"].split()
    assert set(map(int, prevented)) == NEEDS_A_PERSON | {ExitStatus.INTERRUPTED}
    (cron_job,) = [item["spec"] for item in OBJECTS if item["kind"] == "CronJob"]
    (rule,) = cron_job["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    assert (rule["action"], rule["onExitCodes"]["operator"]) == ("FailJob", "In")
    assert set(rule["onExitCodes"]["values"]) == NEEDS_A_PERSON
    assert rule["onExitCodes"]["containerName"] in {container["name"] for _, container in containers()}
    assert set(GITLAB_JOB["retry"]["exit_codes"]) == WORTH_A_RETRY
    ended = {ExitStatus.AS_PLANNED, ExitStatus.CHANGES, ExitStatus.CANT_BE_DONE, ExitStatus.INTERRUPTED}
    assert NEEDS_A_PERSON | WORTH_A_RETRY | ended == set(ExitStatus)


def test_alerts_use_metrics_that_are_written(tmp_path: Path) -> None:
    """The rules are well formed; every metric and label in them is one that a run writes."""
    conform(ALERTS, ALERT_SCHEMA, "alerts")
    path = tmp_path / "golden.prom"
    runs = [LastRun("eu-de", {Result.SHARED: 1}, {"200": 1}, retries=0)]
    write_metrics(path, plan="golden", exit_code=0, ended_at=datetime(2026, 1, 1, tzinfo=UTC), seconds=1, clouds=runs)
    labels: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(path.read_text("utf-8")):
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    for rule in (rule for group in ALERTS["groups"] for rule in group["rules"]):
        names = set(re.findall(r"bulkshare_\w+", rule["expr"]))
        assert names
        assert names <= set(labels)
        grouped = {label for by in re.findall(r"by \(([^)]+)\)", rule["expr"]) for label in by.split(", ")}
        shown = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        common = set.intersection(*(labels[name] for name in names))
        assert grouped <= common
        assert shown <= (grouped or common)


def test_prometheus_accepts_the_alerts() -> None:
    """Promtool has no complaint."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("needs promtool")
    subprocess.run(
        [promtool, "check", "rules", str(FOLDER / "alerts.yml")], check=True, capture_output=True, timeout=60
    )


def test_the_image_runs_the_program_as_another_user_than_root() -> None:
    """Known instructions, a user by number that Kubernetes is given, too, and the program as the entry point."""
    instructions = dockerfile()
    assert {name for name, _ in instructions} <= {"FROM", "WORKDIR", "COPY", "RUN", "ARG", "ENV", "USER", "ENTRYPOINT"}
    assert instructions[0][0] == "FROM"
    bases = [value.split()[0] for name, value in instructions if name == "FROM"]
    assert all(re.fullmatch(r"python:3\.\d+-slim", base) for base in bases)
    (user,) = [value for name, value in instructions if name == "USER"]
    assert int(user) > 0
    assert {int(user)} == {pod["securityContext"]["runAsUser"] for pod, _ in containers()}
    assert f"useradd --uid {user} " in " ".join(value for name, value in instructions if name == "RUN")
    assert instructions[-1][0] == "ENTRYPOINT"
    assert json.loads(instructions[-1][1]) == ["bulkshare"]


def test_the_image_is_built_from_what_it_copies(tmp_path: Path) -> None:
    """The copied files are in the checkout, and suffice to build the wheel, with its man pages."""
    for source in copied_sources():
        path = ROOT / source
        assert path.exists(), source
        if path.is_dir():
            shutil.copytree(path, tmp_path / source, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, tmp_path / source)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        timeout=120,
    )
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "bulkshare/__main__.py" in names
    assert any(name.endswith("man/man1/bulkshare-run.1") for name in names)


def test_hadolint_accepts_the_dockerfile() -> None:
    """Hadolint has no complaint."""
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("needs hadolint")
    subprocess.run([hadolint, str(FOLDER / "Dockerfile")], check=True, capture_output=True, timeout=60)
