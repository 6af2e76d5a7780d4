"""URLs that events may be sent to. Pure: names are resolved, and their addresses held against the rules, when it is
sent."""

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final, NamedTuple
from urllib.parse import quote

from schemas.errors import RequestError
from schemas.public_addresses import Address, is_public

MAX_CHARACTERS: Final = 2048
_MAX_HOST: Final = 253
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

# Above 1023, where everything else but web servers is refused: ports of other protocols, by the Fetch standard's list.
_LAST_SYSTEM_PORT: Final = 1023
_OTHER_PROTOCOLS: Final = frozenset(
    {1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, *range(6665, 6670), 6679, 6697, 10080}
)

# Names that mean the machine itself, or its network (RFC 6761, 6762, 8375; .internal is reserved by ICANN).
_OWN_NAMES: Final = ("localhost", "localdomain", "local", "internal", "home.arpa")

_URL: Final = re.compile(
    r"(?P<scheme>https?)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<query>\?[^#]*)?", re.IGNORECASE | re.ASCII
)
_AUTHORITY: Final = re.compile(r"(?P<host>\[[^\]]*\]|[^:\[\]]*)(?::(?P<port>\d{0,5}))?", re.ASCII)
_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
# What the URL standard takes for an address, in octal or hexadecimal even: the last label decides.
_NUMERIC: Final = re.compile(r"\d+|0x[0-9a-f]*")

_PATH_SAFE: Final = "/:@!$&'()*+,;=-._~%"
_QUERY_SAFE: Final = _PATH_SAFE + "?"


class WebhookUrl(NamedTuple):
    """`text` is the normal form: scheme and host in lower case, the default port left out, a path in any case.

    `host` is a name in its ASCII form, or the text of an address, without brackets; `address` is there where it is one.
    """

    text: str
    scheme: str
    host: str
    port: int
    address: Address | None

    @property
    def origin(self) -> str:
        """Scheme, host and port as they begin the normal form: `https://example.com`, `https://[2001:db8::1]:8443`."""
        return self.text[: self.text.index("/", len(self.scheme) + 3)]


def parse_webhook_url(text: str, param: str, *, allow_private: bool = False) -> WebhookUrl:
    """The URL in its normal form. `allow_private` is the switch for development: http, and hosts of one's own.

    Raises `RequestError` that names `param`, the field that it stands in, and the rule that it breaks.
    """
    try:
        return _parse(text, allow_private=allow_private)
    except _Broken as broken:
        raise RequestError(f"{param} {broken}", param=param) from None


class _Broken(Exception):
    """A rule that the URL breaks, worded to stand behind the name of the field."""


def _parse(text: str, *, allow_private: bool) -> WebhookUrl:
    if len(text) > MAX_CHARACTERS:
        raise _Broken(f"has {len(text)} characters; at most {MAX_CHARACTERS} are allowed")
    if not text.isprintable() or " " in text or "\\" in text:  # which other programs strip, or take for a slash
        raise _Broken("must hold no spaces, control characters or backslashes")
    if "#" in text:
        raise _Broken("must have no fragment (#...): it is never sent")
    found = _URL.fullmatch(text)
    if found is None:
        raise _Broken("must be an absolute https URL, such as https://example.com/hook")
    scheme = found["scheme"].lower()
    if scheme == "http" and not allow_private:
        raise _Broken("must be https: what is sent over http can be read and changed on its way")
    host, port = _authority(found["authority"], scheme)
    host, address = _host(host)
    if not allow_private:
        _check_public(host, address)
    shown = f"[{host}]" if isinstance(address, IPv6Address) else host
    suffix = "" if port == _DEFAULT_PORTS[scheme] else f":{port}"
    path = quote(found["path"], safe=_PATH_SAFE) or "/"
    query = quote(found["query"] or "", safe=_QUERY_SAFE)
    normal = f"{scheme}://{shown}{suffix}{path}{query}"
    if len(normal) > MAX_CHARACTERS:
        raise _Broken(f"has {len(normal)} characters once it is escaped; at most {MAX_CHARACTERS} are allowed")
    return WebhookUrl(normal, scheme, host, port, address)


def _authority(authority: str, scheme: str) -> tuple[str, int]:
    if "@" in authority:
        raise _Broken("must hold no user name or password")
    found = _AUTHORITY.fullmatch(authority)
    if found is None:
        raise _Broken("has no valid host and port")
    if not found["host"]:
        raise _Broken("must name a host")
    port = int(found["port"]) if found["port"] else _DEFAULT_PORTS[scheme]
    _check_port(port)
    return found["host"], port


def _check_port(port: int) -> None:
    if not 0 < port <= 65535:
        raise _Broken(f"has port {port}, which is none")
    if (port <= _LAST_SYSTEM_PORT and port not in _DEFAULT_PORTS.values()) or port in _OTHER_PROTOCOLS:
        raise _Broken(
            f"has port {port}, which is no web server's: 80, 443 and most above {_LAST_SYSTEM_PORT} are allowed"
        )


def _host(host: str) -> tuple[str, Address | None]:
    if host.startswith("["):
        try:
            address = IPv6Address(host[1:-1])
        except AddressValueError:
            raise _Broken("has a host in brackets that is no IPv6 address") from None
        if address.scope_id is not None:
            raise _Broken("must have no zone in its IPv6 address")
        return str(address), address
    name = _ascii_name(host)
    if _NUMERIC.fullmatch(name.rpartition(".")[2]):
        try:
            return name, IPv4Address(name)
        except AddressValueError:
            raise _Broken("must write an IPv4 address as four decimal numbers, such as 192.0.2.1") from None
    if len(name) > _MAX_HOST or not all(map(_LABEL.fullmatch, name.split("."))):
        raise _Broken("has a host that is no valid name (a dot at its end is not allowed)")
    return name, None


def _ascii_name(host: str) -> str:
    """As it is looked up: in lower case; one with other letters by IDNA 2008, with the mapping of UTS 46."""
    if host.isascii():
        return host.lower()
    if len(host) > _MAX_HOST:
        raise _Broken(f"has a host of {len(host)} characters; at most {_MAX_HOST} are allowed")
    import idna  # noqa: PLC0415  # large tables that hardly any URL needs

    try:
        return idna.encode(host, uts46=True, std3_rules=True).decode()
    except idna.IDNAError:
        raise _Broken("has a host that is no valid international name") from None


def _check_public(host: str, address: Address | None) -> None:
    if address is not None:
        if not is_public(address):
            raise _Broken("must not name a private or reserved address")
    elif "." not in host or any(host == own or host.endswith(f".{own}") for own in _OWN_NAMES):
        raise _Broken("must name a public host: a full name, none of the local machine or network")
