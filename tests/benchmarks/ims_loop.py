"""What one writes with Huawei Cloud's SDK: `glance_add_image_member` for every pair, in 16 threads, at no given pace.

python tests/benchmarks/ims_loop.py CLOUDS_FILE PAIRS_FILE

The first has the entry `sandbox`; the second has a pair a line: image and project.
"""

from __future__ import annotations

import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

warnings.simplefilter("ignore")  # the SDK calls its native calls deprecated

from huaweicloudsdkcore.auth.credentials import BasicCredentials  # type: ignore[import-untyped]  # noqa: E402
from huaweicloudsdkims.v2 import ImsClient  # type: ignore[import-untyped]  # noqa: E402
from huaweicloudsdkims.v2 import model as ims  # noqa: E402

THREADS = 16


def main() -> None:
    """Send the pairs of the file."""
    clouds, pairs = sys.argv[1:]
    entry = yaml.safe_load(Path(clouds).read_text("utf-8"))["clouds"]["sandbox"]
    auth = entry["auth"]
    client = (
        ImsClient.new_builder()
        .with_credentials(BasicCredentials(auth["access_key"], auth["secret_key"], auth["project_id"]))
        .with_endpoint(entry["image_endpoint_override"])
        .build()
    )

    def add(line: str) -> None:
        image, project = line.split()
        body = ims.GlanceAddImageMemberRequestBody(member=project)
        client.glance_add_image_member(ims.GlanceAddImageMemberRequest(image_id=image, body=body))

    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(add, Path(pairs).read_text("utf-8").splitlines()):
            pass


if __name__ == "__main__":
    main()
