"""Many machines for one run: the coordinator's engine plans and records, the workers' engines send, shard by shard.

`coordinator` keeps the workers and their leases, whose arithmetic is in `leases`. `sharding` cuts pending pairs into
shards and takes the place of the engine's own pool. `worker` runs an engine on a shard. `messages` are what they send
each other, `sealing` encrypts credentials among them, and `dask` is the only module that knows dask.distributed.
"""

from bulkshare.fleet.coordinator import Coordinator
from bulkshare.fleet.dask import Cluster, open_cluster
from bulkshare.fleet.messages import Grant, JoinReply, JoinRequest, Remote, Report, ShardResult, ShardTask
from bulkshare.fleet.sharding import ShardedSender
from bulkshare.fleet.worker import Worker

__all__ = [
    "Cluster",
    "Coordinator",
    "Grant",
    "JoinReply",
    "JoinRequest",
    "Remote",
    "Report",
    "ShardResult",
    "ShardTask",
    "ShardedSender",
    "Worker",
    "open_cluster",
]
