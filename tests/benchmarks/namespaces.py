"""A fleet on hosts of its own: how fast it is, and what a host that is cut off for a while does to a run.

    python -m tests.benchmarks.namespaces [speed] [cut] [--pairs 50000] [--small] [--json FILE]

Each worker has a network namespace, with a virtual line to a bridge; the server, the scheduler and the coordinator are
on the bridge's side. All of it is in namespaces that end with this process, whatever ends it. Needs root, or a kernel
that lets users have namespaces; and ip, nsenter and nginx.

`speed`: 2, 4 and 8 workers, beside bulkshare alone and `local:2`; nginx answers every POST with the same 409. CPU is
that of the whole process, start-up included. `cut`: four workers on a sandbox behind nginx, at a rate; one of them is
cut off for ten seconds. What is wrong with the ledger or the members ends this with an error. Both parts without any.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import yaml

from bulkshare.text import counted
from tests.benchmarks.client_limit import ClientLimit, ids, nginx, run_nginx
from tests.benchmarks.measure import machine
from tests.chaos.served import ServedSandbox
from tests.fleet.worker_pool import DaskWorkerPool
from tests.realcloud.process import free_port
from tests.shell import Shell

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType

    from tests.realcloud.process import Server

PARTS = ("speed", "cut")
INSIDE = "--inside"  # the command itself, in its namespaces
TOOLS = ("ip", "unshare", "nsenter", "nginx")
HUB = "10.203.0.1"
HERE = {"alone": (), "local:2": ("--fleet", "local:2")}
FLEETS = (2, 4, 8)
IMAGES, CUT_IMAGES = 10, 40
LATENCY_SECONDS = 0.02
LOGGED_SECONDS = 1.5  # until nginx has written all of its log
MOST_SECONDS = 300.0  # of a run
ON_THE_WAY_SECONDS = 0.002  # by how much two requests may be nearer at the server than they left
TAKEN_OVER = 0.95  # of the rate, sent by the others
FRONT = """
daemon off; worker_processes 1; pid {directory}/nginx.pid; error_log {directory}/nginx.log; {user}
events {{ worker_connections 1024; }}
http {{
  {log}
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
  server {{ listen {hub}:{port}; location / {{ proxy_pass {server}; }} }}
}}
"""


class MissingError(Exception):
    """What this needs is not here; the text says what."""


def within_namespaces() -> list[str]:
    """Return the command that runs a command in namespaces of its own. Raises `MissingError`."""
    if lacking := [tool for tool in TOOLS if shutil.which(tool) is None]:
        raise MissingError(f"needs {', '.join(lacking)}")
    users = () if os.geteuid() == 0 else ("--map-root-user",)
    within = ["unshare", *users, "--net", "--pid", "--mount-proc", "--fork", "--kill-child"]
    tried = subprocess.run(
        [*within, "ip", "link", "add", "type", "bridge"], capture_output=True, text=True, check=False
    )
    if tried.returncode:
        raise MissingError(f"needs root, or namespaces for users: {tried.stderr.strip()}")
    return within


class Line(NamedTuple):
    """The line to a host.

    name: of its end on the bridge.
    address: of the host.
    within: a command that runs commands there.
    """

    name: str
    address: str
    within: tuple[str, ...]


class Network:
    """A bridge in this process's namespace, and the hosts on it, as a context manager."""

    def __init__(self) -> None:
        self._holders: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        for command in ("link set lo up", "link add hub type bridge", f"addr add {HUB}/24 dev hub", "link set hub up"):
            ip(command)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for holder in self._holders:
            holder.kill()
            holder.wait()
        ip("link del hub")

    def add_host(self) -> Line:
        """Add a host, which ends with the network."""
        hold = ["unshare", "--net", "sleep", "infinity"]
        holder = subprocess.Popen(hold)
        self._holders.append(holder)
        namespace, ours = Path(f"/proc/{holder.pid}/ns/net"), Path("/proc/self/ns/net").readlink()
        while namespace.readlink() == ours:
            time.sleep(0.01)
        number = len(self._holders)
        line = Line(f"line{number}", f"10.203.0.{number + 1}", ("nsenter", f"--net={namespace}"))
        ip(f"link add {line.name} type veth peer name eth0 netns {holder.pid}")
        ip(f"link set {line.name} master hub up")
        for command in ("link set lo up", f"addr add {line.address}/24 dev eth0", "link set eth0 up"):
            ip(command, *line.within)
        return line


def ip(command: str, *within: str) -> None:
    """Run a command of `ip`."""
    subprocess.run([*within, "ip", *command.split()], check=True)


class Seen(NamedTuple):
    """A POST of a member that nginx has logged: when it came, in seconds since 1970, and from which host."""

    at: float
    host: str


def log_to(file: Path, *, buffered: bool) -> str:
    """Return the directives that have nginx log requests to a file: at once, or about once a second."""
    form = "log_format seen '$msec $request_time $remote_addr $request_method $uri';"
    return f"{form} access_log {file} seen{' buffer=64k flush=1s' if buffered else ''};"


def posts_in(file: Path) -> list[Seen]:
    """Return the POSTs of members in a log, in the order in which they came."""
    found = []
    for line in file.read_text("utf-8").splitlines():
        ended, took, host, method, path = line.split()
        if method == "POST" and path.endswith("/members"):
            found.append(Seen(float(ended) - float(took), host))
    return sorted(found)


def fullest(times: Sequence[float]) -> int:
    """Return how many of these came in the fullest second, less what two may be nearer than they left."""
    first, most = 0, 0
    for last, at in enumerate(times):
        while at - times[first] >= 1.0 - ON_THE_WAY_SECONDS:
            first += 1
        most = max(most, last - first + 1)
    return most


def cpu_seconds(servers: Sequence[Server]) -> float:
    """Return how much CPU these processes have taken."""
    stats = [Path(f"/proc/{server.pid}/stat").read_text("utf-8").rpartition(")")[2].split() for server in servers]
    return sum(int(fields[11]) + int(fields[12]) for fields in stats) / os.sysconf("SC_CLK_TCK")


@contextmanager
def started_fleet(lines: Sequence[Line], directory: Path, environment: Mapping[str, str]) -> Iterator[DaskWorkerPool]:
    """Start a scheduler here and a worker on each host, and yield them once all workers are there."""
    shell = Shell(Path(tempfile.mkdtemp(dir=directory)))
    shell.env |= environment
    with DaskWorkerPool(shell, host=HUB) as pool:
        for line in lines:
            pool.start_worker(line.address, *line.within)
        pool.wait_for_workers(len(lines))
        yield pool


@dataclass(frozen=True)
class Speed:
    """What one way to share all pairs took: how many a second, and for each the CPU of the command and of workers.

    The workers of `local` are children of the command, and among its CPU. `fullest_second` is as nginx saw it.
    """

    pairs: int
    per_second: float
    cpu_micros: float
    workers_micros: float
    fullest_second: int


def speed(pairs: int, here: Mapping[str, Sequence[str]], fleets: Sequence[int]) -> dict[str, Speed]:
    """Share all pairs in every way, and return what each took, by name. `here` has those without other hosts."""
    found = {}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bulkshare-namespaces-")))
        network = stack.enter_context(Network())
        images, file = ids("image", IMAGES), directory / "access.log"
        address = stack.enter_context(nginx(directory, images, None, host=HUB, log=log_to(file, buffered=True)))
        contest = ClientLimit(directory, address, images, pairs, None)

        def taken(*options: str, workers: Sequence[Server] = ()) -> Speed:
            if workers:
                contest.bulkshare(*options)  # each imports what it needs when it first joins
            time.sleep(LOGGED_SECONDS)
            file.write_text("", "utf-8")
            before = cpu_seconds(workers)
            took = contest.bulkshare(*options)
            spent = cpu_seconds(workers) - before
            time.sleep(LOGGED_SECONDS)
            times = [seen.at for seen in posts_in(file)]
            return Speed(took.amount, took.per_second, took.cpu_micros, spent / took.amount * 1e6, fullest(times))

        for name, options in here.items():
            found[name] = taken(*options)
        lines = [network.add_host() for _ in range(max(fleets))]
        for size in fleets:
            with started_fleet(lines[:size], directory, contest.environment) as pool:
                contest.environment |= pool.environment
                found[counted(size, "worker")] = taken("--fleet", pool.address, workers=pool.workers)
    return found


@dataclass(frozen=True)
class Cut:
    """A run at a rate, of which one worker was cut off for `cut_seconds`.

    seconds: from the first POST to the last one, at the server as all that follows.
    fullest_second: of all POSTs.
    fullest_after: of those in the two seconds after the line was mended, with what had waited in the network.
    taken_over_after: seconds from the cut until the others sent 0.95 of the rate in a second; None: they never did.
    back_after: seconds from when the line was mended until the worker's next POST; None: there was none.
    lost: whether the coordinator gave the worker up.
    posts: beyond one a pair, they are of pairs that were done again.
    results: pairs in the ledger, by result.
    by_second: POSTs of all workers and of the one that was cut off, second by second.
    """

    workers: int
    rate: int
    pairs: int
    cut_seconds: float
    seconds: float
    fullest_second: int
    fullest_after: int
    taken_over_after: float | None
    back_after: float | None
    lost: bool
    posts: int
    results: dict[str, int]
    by_second: dict[str, list[int]]


def cut(*, workers: int, rate: int, pairs: int, cut_after: float, cut_seconds: float) -> Cut:
    """Run at a rate, and cut a worker off. Exits with an error unless each pair is in the ledger once, as it is."""
    projects = [f"{number:032x}" for number in range(pairs // CUT_IMAGES)]
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bulkshare-namespaces-")))
        network = stack.enter_context(Network())
        sandbox = stack.enter_context(ServedSandbox(CUT_IMAGES, latency_seconds=LATENCY_SECONDS))
        shell, file = Shell(directory), directory / "access.log"
        stack.callback(shell.close)
        shell.env["BULKSHARE_LEDGER"] = str(directory / "ledger.db")
        sandbox.serve_to(shell)
        stack.enter_context(_nginx_before_sandbox(shell, file))
        lines = [network.add_host() for _ in range(workers)]
        pool = stack.enter_context(started_fleet(lines, directory, shell.env))
        shell.env |= pool.environment
        limits = f"limits: {{concurrency: 64, rate: {rate}, per_image: 64, members_per_image: 0}}\n"
        plan = shell.plan(sandbox.images, projects, more=limits)
        process = shell.start("run", plan, "--os-cloud", "sandbox", "--fleet", pool.address)
        line = lines[0]
        while line.address not in {seen.host for seen in posts_in(file)}:
            if process.poll() is not None:
                raise SystemExit(f"the run ended without {line.address}: {process.communicate()[1]}")
            time.sleep(0.1)
        time.sleep(cut_after)
        ip(f"link set {line.name} down")
        cut_at = time.time()
        time.sleep(cut_seconds)
        ip(f"link set {line.name} up")
        mended_at = time.time()
        _, err = process.communicate(timeout=MOST_SECONDS)
        if process.returncode:
            raise SystemExit(f"the run exited with {process.returncode}: {err}")
        results = _judge(shell, sandbox, {(image, project) for image in sandbox.images for project in projects})
        posts = posts_in(file)
    times = [seen.at for seen in posts]
    others = [seen.at for seen in posts if seen.host != line.address and seen.at >= cut_at]
    own = [seen.at for seen in posts if seen.host == line.address and seen.at >= mended_at]
    enough = int(TAKEN_OVER * rate)
    full = (first for first, last in zip(others, others[enough:], strict=False) if last < first + 1)
    taken_over_at = next(full, None)
    return Cut(
        workers=workers,
        rate=rate,
        pairs=sum(results.values()),
        cut_seconds=cut_seconds,
        seconds=times[-1] - times[0],
        fullest_second=fullest(times),
        fullest_after=fullest([at for at in times if mended_at <= at < mended_at + 2]),
        taken_over_after=None if taken_over_at is None else taken_over_at - cut_at,
        back_after=own[0] - mended_at if own else None,
        lost="is lost" in err,
        posts=len(posts),
        results=results,
        by_second={
            "all": _by_second([at - times[0] for at in times]),
            "cut off": _by_second([seen.at - times[0] for seen in posts if seen.host == line.address]),
        },
    )


@contextmanager
def _nginx_before_sandbox(shell: Shell, log: Path) -> Iterator[None]:
    """Serve the shell's cloud, which is on the loopback, to all hosts, and log its requests."""
    file = shell.directory / "clouds.yaml"
    entry = yaml.safe_load(file.read_text("utf-8"))["clouds"]["sandbox"]
    server = entry["auth"]["auth_url"].partition("/identity")[0]
    address = f"http://{HUB}:{(port := free_port())}"
    entry["auth"]["auth_url"] = f"{address}/identity/v3"
    entry["image_endpoint_override"] = f"{address}/image"
    file.write_text(yaml.safe_dump({"clouds": {"sandbox": entry}}), "utf-8")
    user = "user root;" if os.geteuid() == 0 else ""
    logged = log_to(log, buffered=False)
    configuration = FRONT.format(directory=shell.directory, user=user, log=logged, hub=HUB, port=port, server=server)
    with run_nginx(shell.directory, configuration, HUB, port):
        yield


def _judge(shell: Shell, sandbox: ServedSandbox, planned: set[tuple[str, str]]) -> dict[str, int]:
    """Return the ledger's pairs by result. Exits with an error unless ledger and cloud have exactly what is planned."""
    rows = shell.rows()
    listed = Counter((row["image_id"], row["member_id"]) for row in rows)
    results = Counter(row["result"] for row in rows)
    copies = sandbox.rows()
    if listed != Counter(planned) or set(results) - {"shared", "already"}:
        raise SystemExit(f"the ledger has {len(listed)} pairs in {len(rows)} rows: {dict(results)}")
    if set(copies) != planned or set(copies.values()) != {1}:
        raise SystemExit(f"the cloud has {len(copies)} of {len(planned)} members, in {sum(copies.values())} rows")
    return dict(results)


def _by_second(times: Sequence[float]) -> list[int]:
    counts = Counter(int(at) for at in times)
    return [counts[second] for second in range(max(counts, default=-1) + 1)]


def main() -> None:
    """Print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--pairs", type=int, default=50_000, help="of `speed`")
    parser.add_argument("--small", action="store_true", help="only to see that it runs")
    parser.add_argument("--json", type=Path)
    parser.add_argument(INSIDE, action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    if not options.inside:
        try:
            within = within_namespaces()
        except MissingError as missing:
            parser.error(str(missing))
        again = [*within, sys.executable, "-m", "tests.benchmarks.namespaces", INSIDE, *sys.argv[1:]]
        sys.exit(subprocess.run(again, check=False).returncode)
    document: dict[str, Any] = {"machine": machine("distributed")}
    print(", ".join(f"{name} {value}" for name, value in document["machine"].items()))
    if "speed" in (options.parts or PARTS):
        found = speed(500, {}, (1,)) if options.small else speed(options.pairs, HERE, FLEETS)
        print(f"{'':12}{'pairs':>9}{'a second':>10}{'CPU us':>9}{'workers us':>12}{'fullest second':>16}")
        for name, one in found.items():
            print(
                f"{name:12}{one.pairs:9,}{one.per_second:10,.0f}{one.cpu_micros:9,.1f}{one.workers_micros:12,.1f}"
                f"{one.fullest_second:16,}"
            )
        document["speed"] = {name: asdict(one) for name, one in found.items()}
    if "cut" in (options.parts or PARTS):
        seen = (
            cut(workers=2, rate=100, pairs=400, cut_after=1, cut_seconds=1)
            if options.small
            else cut(workers=4, rate=200, pairs=8_000, cut_after=10, cut_seconds=10)
        )
        document["cut"] = asdict(seen)
        print("\n".join(f"{name:18}{value}" for name, value in document["cut"].items() if name != "by_second"))
    if options.json is not None:
        options.json.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
