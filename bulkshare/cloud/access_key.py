"""Access keys (AK/SK) of Huawei Cloud and Open Telekom Cloud: no log-in and no token, each request is signed.

The image endpoint is derived from that of the identity service, as the clients of these clouds do: the region whose
identity service is `iam.REGION.DOMAIN` has its image service at `ims.REGION.DOMAIN`.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio
from requests.auth import AuthBase

from bulkshare.cloud.catalog import checked_endpoint, connection_to
from bulkshare.cloud.identity import ConfiguredIdentity
from bulkshare.cloud.projects import KeystoneDirectory
from bulkshare.errors import CredentialsRefusedError, UsageError
from bulkshare.image_api.glance import interpret
from bulkshare.image_api.signing import DOMAIN_ID, MOST_SKEW_SECONDS, PROJECT_ID, AccessKey, signed_headers
from bulkshare.model import Account, Response, Step
from bulkshare.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, NoReturn

    from requests import PreparedRequest

    from bulkshare.cloud.config import CloudEntry
    from bulkshare.cloud.keystone import RetryTime
    from bulkshare.model import Reply, Request
    from bulkshare.ports import Transport


AUTH_TYPE = "aksk"
DERIVED = "derived"  # of the entry's key `signature`: the older form
# How clients of these clouds spell the keys: otcextensions, gophertelekomcloud, Terraform's providers, python-t-cloud.
# As OS_... variables, openstacksdk reads the same names.
SPELLINGS = {
    "access_key": ("access_key", "ak", "access_key_id"),
    "secret_key": ("secret_key", "sk", "access_key_secret"),
    "security_token": ("security_token", "aksk_security_token", "st"),
}
# What makes a log-in of another kind: then a pair of keys is for other services, such as the object store.
OTHER_LOG_INS = ("password", "token", "application_credential_secret", "passcode", "access_token")
# Variables that openstacksdk doesn't read, in sets that belong together: those of Huawei Cloud's Terraform provider and
# SDK, and those that gophertelekomcloud and otcextensions share with object stores.
VARIABLES: tuple[dict[str, str], ...] = (
    {
        "access_key": "HW_ACCESS_KEY",
        "secret_key": "HW_SECRET_KEY",
        "security_token": "HW_SECURITY_TOKEN",
        "project_id": "HW_PROJECT_ID",
        "project_name": "HW_PROJECT_NAME",
        "domain_id": "HW_DOMAIN_ID",
        "auth_url": "HW_AUTH_URL",
        "region_name": "HW_REGION_NAME",
    },
    {
        "access_key": "HUAWEICLOUD_SDK_AK",
        "secret_key": "HUAWEICLOUD_SDK_SK",
        "security_token": "HUAWEICLOUD_SDK_SECURITY_TOKEN",
        "project_id": "HUAWEICLOUD_SDK_PROJECT_ID",
        "domain_id": "HUAWEICLOUD_SDK_DOMAIN_ID",
    },
    {"access_key": "AWS_ACCESS_KEY_ID", "secret_key": "AWS_ACCESS_SECRET_KEY"},
    {"access_key": "S3_ACCESS_KEY_ID", "secret_key": "S3_SECRET_ACCESS_KEY"},
)
IAM_HOST = re.compile(r"iam\.(?P<rest>[^/@]+)")
CAUSES = (
    "the keys are wrong or not of this cloud, this machine's clock is off, or the project is not one of this region "
    "that they may use"
)


def key_options(config: Mapping[str, Any]) -> dict[str, str] | None:
    """Return the options of a log-in with an access key, by our own names; None if the entry logs in otherwise.

    config: an entry of clouds.yaml; the keys may stand beside `auth` or under it.

    Raises `UsageError` if the entry has only one of the two keys, and no other way to log in.
    """
    auth = config.get("auth") or {}
    options = {name: _first(spellings, auth, config) for name, spellings in SPELLINGS.items()}
    chosen = config.get("auth_type") == AUTH_TYPE
    if not chosen and (not (options["access_key"] or options["secret_key"]) or _logs_in_otherwise(config, auth)):
        return None
    for name in ("access_key", "secret_key"):
        if not options[name]:
            raise UsageError(f"it has no `{name}` (or `{SPELLINGS[name][1]}`): an access key is a pair")
    for name in ("auth_url", "project_id", "project_name", "domain_id", "signature"):
        options[name] = _first((name,), auth, config)
    return {name: value for name, value in options.items() if value}


def without_keys(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry without its access key, which no auth plugin knows."""
    names = {name for spellings in SPELLINGS.values() for name in spellings}
    rest = {name: value for name, value in config.items() if name not in names}
    auth = {name: value for name, value in (config.get("auth") or {}).items() if name not in names}
    return {**rest, "auth": auth}


def variable_options(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the options that variables other than OS_... give; empty if none has a pair of keys."""
    for names in VARIABLES:
        options = {option: variables[name] for option, name in names.items() if variables.get(name)}
        if {"access_key", "secret_key"} <= options.keys():
            return options
    return {}


def has_login(config: Mapping[str, Any]) -> bool:
    """Return whether an entry has credentials of any kind."""
    auth = config.get("auth") or {}
    keys = (SPELLINGS["access_key"], SPELLINGS["secret_key"])
    return _logs_in_otherwise(config, auth) or any(_first(spellings, auth, config) for spellings in keys)


def _first(spellings: tuple[str, ...], *places: Mapping[str, Any]) -> str:
    return next((str(place[name]) for place in places for name in spellings if place.get(name)), "")


def _logs_in_otherwise(config: Mapping[str, Any], auth: Mapping[str, Any]) -> bool:
    return any(place.get(name) for place in (config, auth) for name in OTHER_LOG_INS)


def image_endpoint(entry: CloudEntry) -> str:
    """Return the image endpoint of a cloud that is used without a catalog. Raises `UsageError` if it isn't known."""
    if entry.endpoint_override:
        return checked_endpoint(entry.endpoint_override)
    parts = urlsplit(entry.auth_url)
    host = IAM_HOST.fullmatch(parts.netloc)
    if host is None:
        raise UsageError(
            f"cloud {clean(entry.name)}: with an access key there is no catalog: set `auth_url` to "
            "https://iam.REGION.DOMAIN/v3, or `image_endpoint_override`"
        )
    return checked_endpoint(f"{parts.scheme}://ims.{host['rest']}")


class KeyIdentity(ConfiguredIdentity):
    """Our account on one cloud, for which we have an access key. It has no tokens.

    entry: the configured cloud.
    retry_time: for how long a request to the identity service that gets no answer is retried.
    note: says a sentence to the user.
    """

    def __init__(
        self, entry: CloudEntry, *, retry_time: RetryTime | None = None, note: Callable[[str], None] = lambda _: None
    ) -> None:
        super().__init__(entry, retry_time=retry_time, note=note)
        self._lock = anyio.Lock()

    @property
    def key(self) -> AccessKey:
        """The access key."""
        return access_key_of(self._entry)

    def directory(self) -> KeystoneDirectory:
        """Return the directory of projects that the key may see."""
        signature = RequestSignature(self.key, self._entry.auth.get("domain_id", ""))
        return KeystoneDirectory(
            self._entry,
            self,
            domains={},
            retry_time=self._retry_time,
            notice=self._notice,
            signature=signature,
            is_iam=True,
        )

    async def token(self, _project: str | None = None) -> str:
        """Find the account, once, and return "": there is no token.

        A project that is not configured by its ID is looked up by its name, which by default is the region's. Raises
        `UsageError` if it isn't found, and what the identity service's refusal means.
        """
        async with self._lock:
            if self._account is None:
                endpoint = image_endpoint(self._entry)
                auth, name = self._entry.auth, self._entry.auth.get("project_name") or self._entry.region
                project_id = auth.get("project_id") or await self._find_project(name)
                self._connection = connection_to(endpoint, self._entry)
                self._account = Account(
                    cloud=clean(self._entry.name),
                    region=self._entry.region,
                    endpoint=endpoint,
                    user="access key",
                    project=clean(name or project_id),
                    project_id=project_id,
                )
        return ""

    async def renew(self, _refused: str, _project: str | None = None) -> NoReturn:
        """Raise `CredentialsRefusedError`: a refused key can't be renewed, and a further refusal might lock it."""
        raise CredentialsRefusedError(f"cloud {clean(self._entry.name)} refuses the signature: {CAUSES}")

    async def refusals(self, projects: Iterable[str]) -> dict[str, str]:
        """Return why the key can't act for some of these projects."""
        return {project: only_for_its_own(project) for project in projects if project != self.account.project_id}

    async def _find_project(self, name: str) -> str:
        where = f"cloud {clean(self._entry.name)}"
        place = "set `project_id` under `auth` in clouds.yaml, or OS_PROJECT_ID"
        if not name or not self._entry.auth_url:
            raise UsageError(f"{where}: an access key needs the ID of a project: {place}")
        found = await self.directory().named(name)
        if len(found) != 1:
            many = f"{len(found)} projects are" if found else "no project that the key may see is"
            raise UsageError(f"{where}: {many} called {clean(name)}: {place}")
        return found[0].id


def only_for_its_own(project: str) -> str:
    """Return why an access key can't act for a project."""
    return f"an access key can't act for project {clean(project)}, only for its own"


def access_key_of(entry: CloudEntry) -> AccessKey:
    """Return the access key of an entry with auth_type `aksk`."""
    auth = entry.auth
    return AccessKey(
        auth["access_key"], auth["secret_key"], auth.get("security_token"), derived=auth.get("signature") == DERIVED
    )


class RequestSignature(AuthBase):
    """Signs the requests of the `requests` library.

    domain_id: whose projects are asked for; "": those that the key implies.
    """

    def __init__(self, key: AccessKey, domain_id: str) -> None:
        self._key = key
        self._scope = {DOMAIN_ID: domain_id} if domain_id else {}

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Add the headers that sign a request, just before it is sent."""
        method, url = request.method or "GET", request.url or ""  # nothing is sent to the identity service but GETs
        request.headers.update(signed_headers(self._key, method, url, self._scope, None, datetime.now(UTC)))
        return request


class Signed:
    """A Transport that signs every request just before it leaves.

    The gateways lock a key for five minutes after more than five refusals in a row. So requests go one by one until the
    first signature has been accepted, and a refused one ends the run.
    """

    def __init__(self, inner: Transport, identity: KeyIdentity, *, wall: Callable[[], datetime]) -> None:
        self._inner = inner
        self._identity = identity
        self._wall = wall
        self._accepted = False
        self._refusal = ""
        self._first = anyio.Lock()

    async def send(self, request: Request) -> Reply:
        """Send `request` with a signature. Raises `CredentialsRefusedError` if it is refused.

        A request on behalf of another project gets a 403: an access key is valid for its own.
        """
        own = self._identity.account.project_id
        if request.project not in {None, own}:
            message = only_for_its_own(request.project)
            return Response(403, {"content-type": "application/json"}, json.dumps({"message": message}).encode())
        if self._accepted:
            return await self._send(request)
        async with self._first:
            return await self._send(request)

    async def _send(self, request: Request) -> Reply:
        if self._refusal:
            raise CredentialsRefusedError(self._refusal)
        account = self._identity.account
        headers = {PROJECT_ID: account.project_id}
        if request.body is not None:
            headers["Content-Type"] = request.content_type
        url, now = account.endpoint + request.path, self._wall()
        signed = signed_headers(self._identity.key, request.method, url, headers, request.body, now)
        reply = await self._inner.send(request._replace(headers=signed))
        if isinstance(reply, Response):
            if reply.status == 401:
                self._refusal = _refusal(reply, account, now)
                raise CredentialsRefusedError(self._refusal)
            self._accepted = True
        return reply


def _refusal(response: Response, account: Account, now: datetime) -> str:
    """Return why a signature was refused, as far as the answer tells."""
    reason = interpret(Step.GET_MEMBER, "", "", response, datetime.now(UTC)).reason
    said = f"the image service at {account.endpoint} refuses the signature"
    skew = _skew_seconds(response, now)
    if skew is not None and abs(skew) > MOST_SKEW_SECONDS:
        by = f"{abs(skew) / 60:.0f} min {'fast' if skew > 0 else 'slow'}"
        return f"{said}: this machine's clock is {by}; set it ({reason})"
    return f"{said}: {reason}; {CAUSES}"


def _skew_seconds(response: Response, now: datetime) -> float | None:
    """Return how far our clock is ahead of the service's; None if its answer has no date."""
    try:
        date = parsedate_to_datetime(response.headers.get("date", ""))
    except ValueError:
        return None
    return (now - date).total_seconds() if date.tzinfo else None
