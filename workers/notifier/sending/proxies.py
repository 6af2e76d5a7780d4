"""Where an egress proxy of one's own is. Pure: settings are read where nothing is sent from, too."""

from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

_RULE: Final = "must be http(s)://[user:password@]host[:port]"


class ProxyAddress(NamedTuple):
    """`host` is without brackets; `auth` are a user's name and password."""

    scheme: str
    host: str
    port: int
    auth: tuple[str, str] | None


def parse_proxy(text: str) -> ProxyAddress:
    """Raises `ValueError` for what is none; it does not quote the text, which may hold a password."""
    try:
        url = urlsplit(text)
        host, port = url.hostname, url.port
    except ValueError:
        raise ValueError(_RULE) from None
    if not host or url.scheme not in {"http", "https"} or url.path not in {"", "/"} or url.query or url.fragment:
        raise ValueError(_RULE)
    auth = None if url.username is None else (unquote(url.username), unquote(url.password or ""))
    return ProxyAddress(url.scheme, host, port or (443 if url.scheme == "https" else 80), auth)
