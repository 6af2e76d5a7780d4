"""From the name of a host to the addresses that may be dialled: asked once, and every answer checked."""

import asyncio
from collections.abc import Sequence
from ipaddress import ip_address
from socket import AF_UNSPEC, SOCK_STREAM
from typing import Final, Protocol, Self

import aiodns
import pycares

from schemas.public_addresses import Address, is_public
from stores.webhooks import Verdict
from workers.notifier.sending.refusals import NotSent

# An answer may hold thousands.
MOST_ANSWERS: Final = 64

# A name is looked up as it is, never with the domains of our own network behind it, or by what HOSTALIASES says.
_FLAGS: Final = pycares.ARES_FLAG_NOSEARCH | pycares.ARES_FLAG_NOALIASES
_TRY_S: Final = 2.0
_TRIES: Final = 2

_TOLD: Final = {
    aiodns.error.ARES_ENOTFOUND: "the name of its host does not exist",
    aiodns.error.ARES_ENODATA: "the name of its host has no address",
    aiodns.error.ARES_ETIMEOUT: "the name servers of its host did not answer in time",
}
# Told of every name that nothing can be sent to, whether it is unknown, private or cannot be resolved: whoever names
# hosts does not learn which names our own network has.
NO_PUBLIC_ADDRESS: Final = "its host has no public address, or others beside it, or could not be resolved"
# Our own name server is away, or there is none.
_OURS: Final = frozenset({aiodns.error.ARES_ECONNREFUSED, aiodns.error.ARES_EFILE, aiodns.error.ARES_ENOMEM})


class Names(Protocol):
    async def addresses(self, host: str) -> Sequence[Address]:
        """All addresses of a host, which may be an address itself, best first. Raises `NotSent`."""


class Resolver:
    """The system's name servers, and its file of hosts, without a thread that a silent server could hold.

    `servers` are other ones (`127.0.0.1:5353`), for tests.
    """

    def __init__(self, servers: Sequence[str] | None = None) -> None:
        self._servers = servers

    async def __aenter__(self) -> Self:
        self._dns = aiodns.DNSResolver(self._servers, timeout=_TRY_S, tries=_TRIES, flags=_FLAGS)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._dns.close()

    async def addresses(self, host: str) -> Sequence[Address]:
        try:
            return (ip_address(host),)
        except ValueError:
            pass
        try:
            found = await self._dns.getaddrinfo(host, family=AF_UNSPEC, type=SOCK_STREAM)
        except aiodns.error.DNSError as error:
            code = error.args[0] if error.args else None
            verdict = Verdict.OURS if code in _OURS else Verdict.FAILED
            raise NotSent(verdict, _TOLD.get(code, "the name of its host could not be resolved")) from error
        # Each address once, in the order of RFC 6724, in which c-ares gives them.
        nodes = found.nodes[: MOST_ANSWERS + 1]
        answers = tuple(dict.fromkeys(ip_address(node.addr[0].decode()) for node in nodes))
        if not answers or len(nodes) > MOST_ANSWERS:
            raise NotSent(Verdict.FAILED, f"the name of its host must have 1 to {MOST_ANSWERS} addresses")
        return answers


class PublicOnly:
    """Refuses a host of whose addresses one is not public: a name that has both kinds is an attack, or a mistake.

    It says the same of one that has no address.
    """

    def __init__(self, names: Names) -> None:
        self._names = names

    async def addresses(self, host: str) -> Sequence[Address]:
        try:
            found = await self._names.addresses(host)
        except NotSent as error:
            if error.verdict is Verdict.OURS:
                raise
            raise NotSent(error.verdict, NO_PUBLIC_ADDRESS) from error
        if not all(map(is_public, found)):
            raise NotSent(Verdict.REFUSED, NO_PUBLIC_ADDRESS)
        return found


class SystemNames:
    """As every program of this machine resolves them: for a host of our own, which nobody else names."""

    async def addresses(self, host: str) -> Sequence[Address]:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, None, type=SOCK_STREAM)
        except OSError as error:
            raise NotSent(Verdict.OURS, "the name of our egress proxy could not be resolved") from error
        return tuple(dict.fromkeys(ip_address(address[0]) for *_, address in found))
