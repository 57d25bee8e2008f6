"""What one writes with openstacksdk: `add_member` for every pair, in so many threads.

    python tests/benchmarks/sdk_loop.py CLOUD PAIRS_FILE THREADS

The file has a pair a line: image and project.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import openstack
from keystoneauth1.session import TCPKeepAliveAdapter
from openstack.exceptions import ConflictException
from openstack.image.v2._proxy import Proxy


def main() -> None:
    """Send the pairs of the file."""
    cloud, file, threads = sys.argv[1:]
    connection = openstack.connect(cloud=cloud)
    # As many connections as threads; there are ten without it.
    for scheme in ("http://", "https://"):
        connection.session.session.mount(scheme, TCPKeepAliveAdapter(pool_maxsize=int(threads)))
    image_service = connection.image
    assert isinstance(image_service, Proxy)

    def add(line: str) -> None:
        image, project = line.split()
        with suppress(ConflictException):  # it is a member already
            image_service.add_member(image, member_id=project)

    lines = Path(file).read_text("utf-8").splitlines()
    if threads == "1":
        for line in lines:
            add(line)
        return
    with ThreadPoolExecutor(int(threads)) as pool:
        for _ in pool.map(add, lines):
            pass


if __name__ == "__main__":
    main()
