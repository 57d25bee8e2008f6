"""The work list and the record of every run, in a file or a database. Knows nothing of what pairs mean to the cloud.

`ledger` is what the engine and the commands use, and `lock` lets one run of a plan work at a time. `schema` defines the
tables, `codecs` encodes single values, `strings` stores repeated text once; `pairs` and `runs` read and write rows, in
the SQL that `dialects` adapts to each database. `url` parses where the ledger is; `store` is the interface of the
database there, and `sqlite` and `server` implement it.
"""

from bulkshare.ledger.ledger import SqlLedger
from bulkshare.ledger.lock import RunLock

__all__ = ["RunLock", "SqlLedger"]
