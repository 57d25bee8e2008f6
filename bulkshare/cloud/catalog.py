"""Finds the image endpoint: what the catalog or the user says, checked and without its version. Knows no network."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import requests.utils

from bulkshare.errors import CredentialsRefusedError, EndpointRefusedError, UsageError
from bulkshare.model import Connection
from bulkshare.text import clean

if TYPE_CHECKING:
    from keystoneauth1.access.service_catalog import ServiceCatalog

    from bulkshare.cloud.config import CloudEntry


VERSION = re.compile(r"/v2(\.\d+)?$")


def find_endpoint(entry: CloudEntry, catalog: ServiceCatalog | None) -> tuple[str, str]:
    """Return (image endpoint, region). The endpoint is as in `model.Account`.

    Raises `CredentialsRefusedError` where there is no image service, `UsageError` where there is none in the entry's
    region or the region has to be named, and `EndpointRefusedError`.
    """
    if entry.endpoint_override:
        return checked_endpoint(entry.endpoint_override), entry.region
    if catalog is None:
        raise UsageError(f"auth_type {entry.auth_type} has no catalog: set image_endpoint_override")
    found = catalog.get_endpoints_data(
        service_type=entry.service_type, interface=entry.interface, service_name=entry.service_name
    )
    offers = [(data.region_name or "", data.url) for kind in found.values() for data in kind if data.url]
    if not offers:
        raise CredentialsRefusedError(
            f"cloud {clean(entry.name)}: the catalog has no image service (interface {clean(str(entry.interface))}); "
            "is the log-in scoped to a project (project_name or project_id)?"
        )
    regions = sorted({clean(region) for region, _ in offers})
    if entry.region:
        offers = [offer for offer in offers if offer[0] == entry.region]
        if not offers:
            raise UsageError(f"no region {clean(entry.region)!r} has an image service; there is {', '.join(regions)}")
    elif len({url for _, url in offers}) > 1:
        raise UsageError(f"name a region: there are image services in {', '.join(regions)}")
    region, url = offers[0]
    endpoint = checked_endpoint(url)
    if entry.auth_url.lower().startswith("https:") and not endpoint.startswith("https:"):
        raise EndpointRefusedError(
            f"the identity service is reached over https, but its catalog gives {endpoint} for images, where the token "
            "would travel readable; set image_endpoint_override if that is meant"
        )
    return endpoint, clean(region)


def checked_endpoint(url: str) -> str:
    """Return `url` without version and trailing slash. Raises `EndpointRefusedError` where it is no plain HTTP URL."""
    if not url.isprintable() or " " in url:
        raise EndpointRefusedError(f"the image endpoint is no URL: {clean(url.rpartition('@')[2])}")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise EndpointRefusedError(f"the image endpoint is no URL: {clean(url.rpartition('@')[2])}") from error
    if parts.username is not None or parts.password is not None:
        raise EndpointRefusedError(f"the image endpoint at {host} has a user in its URL, which tokens make needless")
    if parts.scheme not in {"http", "https"} or not host or parts.query or parts.fragment:
        raise EndpointRefusedError(f"the image endpoint is no plain http or https URL: {clean(url)}")
    path = VERSION.sub("", parts.path.rstrip("/")).rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path}"


def is_loopback(url: str) -> bool:
    """Tell whether `url` is on this machine, where no proxy on the way makes sense."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def connection_to(endpoint: str, entry: CloudEntry) -> Connection:
    """Return how to reach `endpoint`: the entry's TLS settings, and the proxy that `requests` would take."""
    proxy = None
    if not is_loopback(endpoint):
        proxy = requests.utils.select_proxy(endpoint, requests.utils.get_environ_proxies(endpoint))
    if proxy and "://" not in proxy:
        proxy = f"http://{proxy}"
    return Connection(
        endpoint,
        verify=entry.verify,
        cacert=entry.cacert,
        cert=entry.cert,
        key=entry.key,
        proxy=proxy or None,
    )
