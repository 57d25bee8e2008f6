"""The configuration files of both services, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SERVICE_USER = "glance"
SERVICE_PASSWORD = "glancepw"


def database_url(file: Path) -> str:
    """Return the URL of a SQLite file; its time-out in seconds is how long a writer waits for the lock."""
    return f"sqlite:///{file}?timeout=60"


def keystone_conf(state: Path) -> str:
    """Return keystone.conf for the database and keys under `state`.

    Four rounds of bcrypt are its minimum; they make a log-in cheap. Receipts have keys of their own only because
    Keystone would look for them in /etc otherwise.
    """
    return f"""\
[DEFAULT]
log_file = {state}/keystone.log
[database]
connection = {database_url(state / "keystone.db")}
sqlite_synchronous = false
[identity]
password_hash_rounds = 4
[token]
provider = fernet
expiration = 86400
[fernet_tokens]
key_repository = {state}/fernet-keys
[fernet_receipts]
key_repository = {state}/fernet-keys
[credential]
key_repository = {state}/credential-keys
"""


def glance_conf(state: Path, *, paste: Path, auth_url: str, endpoint: str, image_member_quota: int) -> str:
    """Return glance-api.conf for the database and image store under `state`; `paste` is glance-api-paste.ini."""
    return f"""\
[DEFAULT]
log_file = {state}/glance.log
enabled_backends = local:file
enabled_import_methods = []
node_staging_uri = file://{state}/staging
worker_self_reference_url = {endpoint}
image_member_quota = {image_member_quota}
[database]
connection = {database_url(state / "glance.db")}
sqlite_synchronous = false
[glance_store]
default_backend = local
[local]
filesystem_store_datadir = {state}/images
[os_glance_staging_store]
filesystem_store_datadir = {state}/staging
[os_glance_tasks_store]
filesystem_store_datadir = {state}/tasks
[paste_deploy]
flavor = keystone
config_file = {paste}
[keystone_authtoken]
www_authenticate_uri = {auth_url}
auth_url = {auth_url}
auth_type = password
username = {SERVICE_USER}
password = {SERVICE_PASSWORD}
user_domain_name = Default
project_name = service
project_domain_name = Default
service_token_roles_required = true
"""
