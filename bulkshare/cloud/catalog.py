"""The image endpoint, from the catalog or the configuration, checked and without its version. No network."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import requests.utils

from bulkshare.errors import CredentialsRefusedError, EndpointRefusedError, UsageError
from bulkshare.model import Connection
from bulkshare.text import clean, escaped

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keystoneauth1.access.service_catalog import ServiceCatalog

    from bulkshare.cloud.config import CloudEntry


VERSION = re.compile(r"/v2(\.\d+)?$")


def find_endpoint(entry: CloudEntry, catalog: ServiceCatalog | None) -> tuple[str, str]:
    """Return (image endpoint, region). The endpoint is as in `model.Account`.

    Raises `CredentialsRefusedError` if there is no image service, `UsageError` if there is none in the entry's region
    or a region must be named, and `EndpointRefusedError`.
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
        everywhere = catalog.get_endpoints_data(service_type=entry.service_type, service_name=entry.service_name)
        interfaces = sorted({str(data.interface) for kind in everywhere.values() for data in kind if data.url})
        if interfaces:
            raise UsageError(
                f"no interface '{escaped(str(entry.interface))}' has an image service; known: "
                f"{clean(', '.join(interfaces))}"
            )
        raise CredentialsRefusedError(
            f"cloud {clean(entry.name)}: the catalog has no image service (interface {clean(str(entry.interface))}); "
            "is the login scoped to a project (project_name or project_id)?"
        )
    regions = sorted({clean(region) for region, _ in offers})
    if entry.region:
        offers = [offer for offer in offers if offer[0] == entry.region]
        if not offers:
            raise UsageError(f"no region '{escaped(entry.region)}' has an image service; known: {', '.join(regions)}")
    elif len({url for _, url in offers}) > 1:
        raise UsageError(f"name a region; there are image services in {', '.join(regions)}")
    region, url = offers[0]
    endpoint = checked_endpoint(url)
    if entry.auth_url.lower().startswith("https:") and not endpoint.startswith("https:"):
        raise EndpointRefusedError(
            f"the identity service is reached over https, but its catalog gives {endpoint} for images, so the token "
            "would be sent unencrypted; set image_endpoint_override if that is intended"
        )
    return endpoint, clean(region)


def is_iam(auth_url: str, catalog: ServiceCatalog | None = None) -> bool:
    """Return whether the identity service is IAM, that of Huawei Cloud and Open Telekom Cloud.

    Its host is `iam.REGION.DOMAIN`, and its name in a catalog is `iam`.
    """
    if (urlsplit(auth_url).hostname or "").startswith("iam."):
        return True
    services: Iterable[object] = catalog.catalog if catalog is not None else ()
    return any(isinstance(service, dict) and service.get("name") == "iam" for service in services)


def checked_endpoint(url: str) -> str:
    """Return `url` without version and trailing slash. Raises `EndpointRefusedError` if it is not a plain HTTP URL."""
    if not url.isprintable() or " " in url:
        raise EndpointRefusedError(f"the image endpoint is not a URL: {clean(url.rpartition('@')[2])}")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise EndpointRefusedError(f"the image endpoint is not a URL: {clean(url.rpartition('@')[2])}") from error
    if parts.username is not None or parts.password is not None:
        raise EndpointRefusedError(f"the image endpoint at {host} has a user in its URL; remove it")
    if parts.scheme not in {"http", "https"} or not host or parts.query or parts.fragment:
        raise EndpointRefusedError(f"the image endpoint is not a plain http or https URL: {clean(url)}")
    path = VERSION.sub("", parts.path.rstrip("/")).rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path}"


def is_loopback(url: str) -> bool:
    """Return whether `url` is on this machine, so that no proxy must be used."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def proxy_for(url: str) -> str | None:
    """Return the URL of the proxy that `requests` would use, as the environment says; None: it needs none."""
    proxy = None
    if not is_loopback(url):
        proxy = requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url))
    if proxy and "://" not in proxy:
        proxy = f"http://{proxy}"
    return proxy or None


def connection_to(endpoint: str, entry: CloudEntry) -> Connection:
    """Return how to reach `endpoint`: the entry's TLS settings, and the proxy of the environment."""
    return Connection(
        endpoint,
        verify=entry.verify,
        cacert=entry.cacert,
        cert=entry.cert,
        key=entry.key,
        proxy=proxy_for(endpoint),
    )
