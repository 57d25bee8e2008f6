"""The work list and the record of every run, in a file or a database. Doesn't know what pairs mean to the cloud.

`ledger` is the face: `SqlLedger`, which the engine and the commands use. It has the statements of `pairs` (the
work list and the outcomes) and `runs` (everything else about a run). These store values as `codecs` packs them and
texts as numbers from `strings`, in the tables of `schema`. Statements are text; `dialects` has what
differs between databases.

Below it is the database: `url` parses the ledger's location, `store` is the interface of a place that keeps it and the
retry of lost connections, `sqlite` and `server` are the two implementations. `lock` admits one run of a plan at a time.
"""

from bulkshare.ledger.ledger import SqlLedger
from bulkshare.ledger.lock import RunLock

__all__ = ["RunLock", "SqlLedger"]
