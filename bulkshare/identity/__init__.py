"""Who we are for one cloud: an account, its tokens, and the way to its image endpoint.

`entry` reads what the user configured, `keystone` logs in, `trouble` explains why that failed, `catalog` finds the
image endpoint, `cloud` is the identity the engine sees, `identified` puts its tokens on requests. Knows no images.
"""

from bulkshare.identity.cloud import CloudIdentity
from bulkshare.identity.entry import CloudEntry
from bulkshare.identity.identified import Identified

__all__ = ["CloudEntry", "CloudIdentity", "Identified"]
