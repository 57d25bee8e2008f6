"""The metrics file is valid for Prometheus, and never partly written."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bulkshare.errors import UsageError
from bulkshare.model import Result
from bulkshare.progress.metrics import LastRun, require_writable, write_metrics

if TYPE_CHECKING:
    from pathlib import Path

ENDED = datetime(2026, 11, 23, 3, 16, tzinfo=UTC)


def test_metrics_are_readable_and_labelled(tmp_path: Path) -> None:
    """Prometheus' own parser finds each number with its plan, cloud, result and status."""
    path = tmp_path / "golden.prom"
    clouds = [
        LastRun(
            "eu-de",
            {Result.SHARED: 3, Result.FAILED: 1},
            {"200": 3, "timeout": 2},
            retries=1,
            opened=5,
            awaiting_acceptance=7,
        )
    ]
    write_metrics(path, plan="golden", exit_code=1, ended_at=ENDED, seconds=12.5, clouds=clouds)
    found = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(path.read_text())
        for sample in family.samples
    }
    plan, cloud = ("plan", "golden"), ("cloud", "eu-de")
    assert found == {
        ("bulkshare_last_run_timestamp_seconds", plan): ENDED.timestamp(),
        ("bulkshare_last_run_duration_seconds", plan): 12.5,
        ("bulkshare_last_run_exit_code", plan): 1.0,
        ("bulkshare_last_run_pairs", cloud, plan, ("result", "shared")): 3.0,
        ("bulkshare_last_run_pairs", cloud, plan, ("result", "failed")): 1.0,
        ("bulkshare_last_run_requests", cloud, plan, ("status", "200")): 3.0,
        ("bulkshare_last_run_requests", cloud, plan, ("status", "timeout")): 2.0,
        ("bulkshare_last_run_retries", cloud, plan): 1.0,
        ("bulkshare_last_run_opened_images", cloud, plan): 5.0,
        ("bulkshare_last_run_members_awaiting_acceptance", cloud, plan): 7.0,
    }


def test_a_run_that_did_not_start_has_its_exit_code(tmp_path: Path) -> None:
    """An alert on the exit code also sees a broken plan."""
    path = tmp_path / "golden.prom"
    write_metrics(path, plan="golden", exit_code=2, ended_at=ENDED, seconds=0.1, clouds=[])
    assert 'bulkshare_last_run_exit_code{plan="golden"} 2.0' in path.read_text()


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    """No temporary file is left in the collector's directory."""
    write_metrics(tmp_path / "a.prom", plan="golden", exit_code=0, ended_at=ENDED, seconds=1.0, clouds=[])
    assert [path.name for path in tmp_path.iterdir()] == ["a.prom"]


def test_a_path_that_can_not_be_written_is_reported(tmp_path: Path) -> None:
    """The message names the file."""
    with pytest.raises(UsageError, match=r"can't write the metrics to .*missing/a\.prom: No such file"):
        write_metrics(tmp_path / "missing" / "a.prom", plan="p", exit_code=0, ended_at=ENDED, seconds=1.0, clouds=[])


def test_a_path_that_can_not_be_written_is_reported_beforehand(tmp_path: Path) -> None:
    """A missing directory, and a directory in the file's place; an existing file may be replaced."""
    with pytest.raises(UsageError, match="there is no directory"):
        require_writable(tmp_path / "missing" / "a.prom")
    with pytest.raises(UsageError, match="may not write there"):
        require_writable(tmp_path)
    (tmp_path / "a.prom").touch()
    require_writable(tmp_path / "a.prom")
