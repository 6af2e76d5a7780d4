"""Addresses of services, and the passwords in them."""

from collections.abc import Iterator
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

UNREADABLE: Final = "an address that cannot be read"
# Drivers take them from behind the question mark, too.
_SECRET: Final = ("password", "passwd", "sslpassword", "passfile")


def without_password(address: str) -> str:
    """The address with the passwords, if it has any, left out."""
    try:
        parts = urlsplit(address)
        password, user = parts.password, parts.username
        options = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return UNREADABLE
    if password is not None:
        parts = parts._replace(netloc=f"{user}@" * bool(user) + parts.netloc.rpartition("@")[2])
    kept = [(name, value) for name, value in options if name.lower() not in _SECRET]
    if len(kept) < len(options):
        parts = parts._replace(query=urlencode(kept, quote_via=quote, safe="/:,"))
    return parts.geturl()


def passwords_in(address: str) -> Iterator[str]:
    """As they are written there, and as they are. What cannot be read is a secret as a whole."""
    try:
        parts = urlsplit(address)
        password, query = parts.password, parts.query
    except ValueError:
        yield address
        yield address.rpartition("@")[0].rpartition(":")[2]  # what a driver may make of it
        return
    written = [password] if password else []
    options = (each.partition("=") for each in query.split("&"))
    written += [value for name, _, value in options if unquote(name).lower() in _SECRET]
    for each in written:
        yield each
        yield unquote(each)
