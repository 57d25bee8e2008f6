"""Many machines for one run: the coordinator's engine plans and records, and workers' engines send, a shard at a time.

`leases` and `cutting` are arithmetic: who may send how fast, and which pairs go together. `messages` is what the
coordinator and the workers say to each other. On a worker a `station` runs an engine on a `shard`; on the coordinator
`meeting` asks workers (`hands`) to take part, `tending` keeps them and their leases, and a `crew` takes the place of
the engine's own senders. `cluster` is the one module that knows dask.distributed.
"""

from bulkshare.fleet.coordinator import Coordinator
from bulkshare.fleet.dask import Cluster, open_cluster
from bulkshare.fleet.messages import Grant, Joined, JoinRequest, Order, Remote, Report, Returned
from bulkshare.fleet.sharding import ShardedSender
from bulkshare.fleet.worker import Worker

__all__ = [
    "Cluster",
    "Coordinator",
    "Grant",
    "JoinRequest",
    "Joined",
    "Order",
    "Remote",
    "Report",
    "Returned",
    "ShardedSender",
    "Worker",
    "open_cluster",
]
