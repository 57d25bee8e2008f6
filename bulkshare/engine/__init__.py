"""Reads pending pairs, sends, interprets, decides and records: the only part of the program that starts tasks.

*Listing* asks, once per image, who is a member already, and settles those pairs without sending them; *inspecting* asks
what the images are that have something left, and settles what can't be. Then come the writes: *opening* makes images
`shared`, *removing* and *sharing* send the pairs that are left. *Describing* fetches the member fields of pairs that
answered 409, which tells nothing else. A phase with nothing to do is left out: where all is as planned there is one
request per image. Outcomes pass through one writer, which commits them in groups and only then tells the observer.
"""

from bulkshare.engine.client import ApiClient
from bulkshare.engine.engine import GRACE_SECONDS, Engine, PreflightMode, Sender, Senders
from bulkshare.engine.pool import WorkerPool
from bulkshare.engine.writer import Recorder, SettleImage

__all__ = [
    "GRACE_SECONDS",
    "ApiClient",
    "Engine",
    "PreflightMode",
    "Recorder",
    "Sender",
    "Senders",
    "SettleImage",
    "WorkerPool",
]
