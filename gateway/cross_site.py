"""Requests that a browser sends for a page of another site may change nothing here.

The rules are those of Go's `net/http.CrossOriginProtection`: what every browser says of itself in `Sec-Fetch-Site` and
`Origin` decides, so that no tokens are needed. Clients that are no browsers send neither.
"""

import ipaddress
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from schemas.errors import CrossSite

# They change nothing (RFC 9110, section 9.2.1).
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
# One of these is with every request of a browser that might change something.
SENT_BY_BROWSERS: Final = frozenset({b"origin", b"sec-fetch-site"})
OURS: Final = frozenset({b"same-origin", b"none"})


class CrossSiteCheck:
    """`public_base_url` is where pages of ours may come from; `bound_host` the address that the server listens on."""

    def __init__(self, public_base_url: str, bound_host: str) -> None:
        parts = urlsplit(public_base_url)
        self._origin = f"{parts.scheme}://{parts.netloc}".lower().encode()
        self._name = parts.hostname or ""
        # A name of somebody else's that leads to this machine must not pass for ours: it can be made to (rebinding).
        self._only_known_hosts = _is_loopback(bound_host)

    def check(self, headers: Mapping[bytes, bytes]) -> None:
        """Of a request that may change something. Raises `CrossSite`."""
        site, origin = headers.get(b"sec-fetch-site", b""), headers.get(b"origin", b"").lower()
        if (origin or site) and not self._is_ours(site, origin, headers.get(b"host", b"").lower()):
            raise CrossSite("a browser sent this request for a page of another site", param="Origin")

    def _is_ours(self, site: bytes, origin: bytes, host: bytes) -> bool:
        if origin == self._origin:
            return True
        if self._only_known_hosts and not self._is_known(host):
            return False
        if site:
            return site in OURS
        return origin.partition(b"://")[2] == host

    def _is_known(self, host: bytes) -> bool:
        try:
            name = urlsplit("//" + host.decode("latin-1")).hostname or ""
        except ValueError:
            return False
        return name == self._name or _is_loopback(name)


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
