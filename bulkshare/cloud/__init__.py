"""Who we are for one cloud: an account, its tokens, the way to its image endpoint, and the projects there are.

`entry` reads what the user configured from the files that `files` finds and checks. `keystone` logs in, for another
project with what `rescope` makes, and `trouble` explains why that failed; `patience` says for how long to try again.
`tokens` keeps one scope's token, `catalog` finds the image endpoint, `cloud` is the identity the engine sees,
`identified` puts its tokens on requests, `parcel` makes an entry ready to be sent. `directory` finds projects with
`reader`. Knows no images.
"""

from bulkshare.cloud.auth import CloudIdentity, Identified
from bulkshare.cloud.config import CloudEntry, entry_of, pack, unpack

__all__ = ["CloudEntry", "CloudIdentity", "Identified", "entry_of", "pack", "unpack"]
