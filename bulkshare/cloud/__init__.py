"""The IO with a cloud: its configuration, log-in, image endpoint and projects, and HTTP. Knows nothing of images.

`clouds_yaml` reads clouds.yaml and the OS_* variables, `config` checks an entry, `keystone` logs in and explains why
that failed, `auth` keeps the tokens and adds them to requests, `access_key` signs requests where there are no tokens,
`catalog` finds the image endpoint, `projects` looks up projects, `http` sends requests.
"""

from bulkshare.cloud.access_key import KeyIdentity, Signed
from bulkshare.cloud.auth import CloudIdentity, Identified, identity_from
from bulkshare.cloud.config import CloudEntry, deserialize, entry_of, read_entry, serialize

__all__ = [
    "CloudEntry",
    "CloudIdentity",
    "Identified",
    "KeyIdentity",
    "Signed",
    "deserialize",
    "entry_of",
    "identity_from",
    "read_entry",
    "serialize",
]
