"""How much CPU it takes to begin: `--help`, and `check` of a small plan, beside an interpreter that does nothing.

    python tests/benchmarks/start_up.py [RUNS]

Runs are interleaved; the table has medians of user + system CPU seconds of the whole process.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "python -c 'import click'": [sys.executable, "-c", "import click"],
    "bulkshare --help": [str(Path(sys.executable).with_name("bulkshare")), "--help"],
    "bulkshare run --help": [str(Path(sys.executable).with_name("bulkshare")), "run", "--help"],
    "bulkshare check": [str(Path(sys.executable).with_name("bulkshare")), "check", str(ROOT / "plans/quickstart.yaml")],
}


def cpu_seconds(command: list[str]) -> float:
    """Return the user + system CPU seconds of one run."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:  # the commands above
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} left with {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Print the table."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 11
    for command in COMMANDS.values():
        cpu_seconds(command)  # warms the file cache and writes the .pyc files
    seen: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(runs):
        for name, command in COMMANDS.items():
            seen[name].append(cpu_seconds(command))
    print(f"{'command':28}{'min':>8}{'median':>8}{'max':>8}   CPU seconds, {runs} runs")
    for name, times in seen.items():
        print(f"{name:28}{min(times):8.3f}{statistics.median(times):8.3f}{max(times):8.3f}")


if __name__ == "__main__":
    main()
