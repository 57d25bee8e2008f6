"""Settles the pending pairs of a run: lists, checks, sends, interprets, decides and records.

`engine` runs the phases of `phases` and `pool` in order. `dispatch` says which pair is next, `client` sends its request
and interprets the answer, `retry` decides what follows, `preflight` finds what can't succeed, `writer` records.
"""

from bulkshare.engine.client import ApiClient
from bulkshare.engine.engine import GRACE_SECONDS, Engine, Sender, Senders
from bulkshare.engine.pool import WorkerPool
from bulkshare.engine.writer import Recorder, SettleImage

__all__ = [
    "GRACE_SECONDS",
    "ApiClient",
    "Engine",
    "Recorder",
    "Sender",
    "Senders",
    "SettleImage",
    "WorkerPool",
]
