"""The work list and the record of every run, in a file or a database. Must not know what pairs mean to the cloud.

`schema` has the tables, `values` and `settings` how single values are kept, `names` keeps repeated texts once. `runs`,
`pairs`, `labels` and `telemetry` read and write rows, `pruning` deletes them; `dialects` has what SQLite, PostgreSQL
and MariaDB say differently. `place` reads where the ledger is, `store` is what keeps it there: a `file` or a `server`,
with which `insisting` is patient. `lock` lets one run of a plan work at a time, `sql` is the ledger that the engine and
the commands use.
"""

from bulkshare.ledger.ledger import SqlLedger
from bulkshare.ledger.lock import RunLock

__all__ = ["RunLock", "SqlLedger"]
