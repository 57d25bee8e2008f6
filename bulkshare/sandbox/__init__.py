"""The embedded cloud: a Keystone and a Glance in this process, for a first try without an account, and for tests.

    async with Sandbox(Cloud.sample(images=3, projects=5)) as sandbox:
        print(sandbox.clouds_yaml())

It answers as Keystone 30 and Glance 33 do, as far as sharing images needs it; one conformance suite checks both. It
listens on 127.0.0.1 only and keeps everything in memory, and every password is `sandbox`. It knows
nothing of plans, ledgers and how bulkshare sends.

`cloud` holds the data, `keystone` and `glance` (with `images`) are the two services, `ims` is the image service as on
Huawei Cloud, and `gateway` checks signatures there; `wire` is what they exchange with
the `server`, and `faults` are what goes wrong on purpose.
"""

from bulkshare.sandbox.cloud import (
    ApplicationCredential,
    Cloud,
    Domain,
    Image,
    ImageSeed,
    MemberRow,
    Project,
    ProjectSeed,
    User,
)
from bulkshare.sandbox.faults import FaultRule
from bulkshare.sandbox.ims import Behaviour, Dialect
from bulkshare.sandbox.server import Sandbox

__all__ = [
    "ApplicationCredential",
    "Behaviour",
    "Cloud",
    "Dialect",
    "Domain",
    "FaultRule",
    "Image",
    "ImageSeed",
    "MemberRow",
    "Project",
    "ProjectSeed",
    "Sandbox",
    "User",
]
