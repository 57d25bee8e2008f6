"""Imports aiohttp without the certificates that it would read, for the commands that talk to clouds.

While it is imported, aiohttp makes two TLS contexts for its own use, each with every authority that the system trusts:
a ninth of a run's start. bulkshare never uses them; `cloud.http` makes its own. OpenSSL takes the place of these
authorities from two variables (`man openssl-env`), which name nothing until the import is done.

This is for a process of our own: for others who use aiohttp in it, these contexts would trust no one.
"""

from __future__ import annotations

import os

PLACES = ("SSL_CERT_FILE", "SSL_CERT_DIR")

_before = {name: os.environ.get(name) for name in PLACES}
os.environ.update(dict.fromkeys(PLACES, os.devnull))
try:
    import aiohttp  # noqa: F401
finally:
    for _name, _value in _before.items():
        if _value is None:
            del os.environ[_name]
        else:
            os.environ[_name] = _value
