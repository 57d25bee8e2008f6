"""The least that can be done with aiohttp: POST every pair once, so many in flight, and read the answers.

    python tests/benchmarks/bare_loop.py ENDPOINT TOKEN PAIRS_FILE CONCURRENCY [CA_FILE]

No plan, ledger, limit, retry or progress; uvloop where it is installed. It prints how many seconds it took, and ends
with an error where an answer is neither 200 nor 409. The file has a pair a line: image and project.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import anyio
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import Iterator


async def send_all(
    endpoint: str, token: str, pairs: Iterator[list[str]], concurrency: int, authority: str | None
) -> None:
    """Send every pair, `concurrency` at once."""
    tls = ssl.create_default_context(cafile=authority) if authority else True
    headers = {"X-Auth-Token": token, "Content-Type": "application/json", "Accept-Encoding": "identity"}
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=tls), cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
    ) as session:

        async def work() -> None:
            for image, project in pairs:
                url = URL(f"{endpoint}/v2/images/{image}/members", encoded=True)
                body = json.dumps({"member": project}).encode()
                async with session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                    await answer.read()
                    if answer.status not in {200, 409}:
                        raise SystemExit(f"{url} answered {answer.status}")

        began = time.monotonic()
        await asyncio.gather(*(work() for _ in range(concurrency)))
        print(time.monotonic() - began)


def main() -> None:
    """Send the pairs of the file."""
    endpoint, token, file, concurrency, *authority = sys.argv[1:]
    lines = Path(file).read_text("utf-8").splitlines()
    pairs = map(str.split, lines)
    main_task = partial(send_all, endpoint, token, pairs, int(concurrency), authority[0] if authority else None)
    anyio.run(main_task, backend_options={"use_uvloop": find_spec("uvloop") is not None})


if __name__ == "__main__":
    main()
