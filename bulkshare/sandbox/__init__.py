"""The embedded cloud: a Keystone and a Glance in this process, for a first try without an account, and for tests.

    async with Sandbox(Cloud.sample(images=3, projects=5)) as sandbox:
        print(sandbox.clouds_yaml())

It answers as Keystone 30 and Glance 33 do, as far as sharing images takes; one conformance suite holds both to that.
It listens on 127.0.0.1 only, keeps everything in memory, and every password is `sandbox`: nothing here is for keeps.
Must not know plans, ledgers and how bulkshare sends: it is the other side.
"""

from bulkshare.sandbox.faults import FaultRule
from bulkshare.sandbox.records import (
    ApplicationCredential,
    Domain,
    Image,
    ImageSeed,
    MemberRow,
    Project,
    ProjectSeed,
    User,
)
from bulkshare.sandbox.server import Sandbox
from bulkshare.sandbox.store import Cloud

__all__ = [
    "ApplicationCredential",
    "Cloud",
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
