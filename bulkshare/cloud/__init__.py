"""The IO with a cloud: its configuration, log-in, image endpoint and projects, and HTTP. Knows nothing of images.

`config` reads an entry of clouds.yaml, `keystone` logs in and explains why that failed, `auth` keeps the tokens and
adds them to requests, `catalog` finds the image endpoint, `projects` looks up projects, `http` sends requests.
"""

from bulkshare.cloud.auth import CloudIdentity, Identified
from bulkshare.cloud.config import CloudEntry, deserialize, entry_of, serialize

__all__ = ["CloudEntry", "CloudIdentity", "Identified", "deserialize", "entry_of", "serialize"]
