"""Which addresses are somebody's on the public Internet. Pure.

A table of our own: `ipaddress.is_global` changes with Python's releases, and says of an address that stands for another
one (NAT64) whether it is routed, and not where that leads to.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

Address = IPv4Address | IPv6Address

# The IANA IPv4 Special-Purpose Address Registry, with blocks that touch put together, and multicast (RFC 5771). Also
# the few blocks that are reachable (anycast of AS112, AMT, PCP): no web server of anybody's is there.
_SPECIAL_V4: Final = tuple(
    IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by the customers of a provider; clouds have services there
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local; clouds tell secrets there
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)

# All that IANA has given out (RFC 4291, section 2.4): what is outside is loopback, link-local, unique-local, multicast,
# reserved, or stands for an IPv4 address.
_GLOBAL_V6: Final = IPv6Network("2000::/3")
# The IANA IPv6 Special-Purpose Address Registry inside of that, all of it. 6to4 and Teredo stand for IPv4 addresses;
# nobody serves by them any more.
_SPECIAL_V6: Final = tuple(
    IPv6Network(block)
    for block in (
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID and others
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)

# Prefixes before an IPv4 address: the address is where a packet goes. The second is what a name server gives out for
# all IPv4 hosts, in networks that have IPv6 alone (RFC 6147). That for local use (64:ff9b:1::/48) leads anywhere.
_MAPPED: Final = IPv6Network("::ffff:0:0/96")
_NAT64: Final = IPv6Network("64:ff9b::/96")

# The first half of an interface's id whose second half is an IPv4 address (ISATAP, RFC 5214, section 6.1).
_ISATAP: Final = frozenset({0x0000_5EFE, 0x0200_5EFE})
_LOW_32: Final = 0xFFFF_FFFF


def is_public(address: Address) -> bool:
    """Whether a packet to it goes to a host on the public Internet, as far as an address can tell."""
    if isinstance(address, IPv4Address):
        return not any(address in block for block in _SPECIAL_V4)
    last = IPv4Address(int(address) & _LOW_32)
    if address in _MAPPED or address in _NAT64:
        return is_public(last)
    if (int(address) >> 32) & _LOW_32 in _ISATAP and not is_public(last):
        return False
    return address in _GLOBAL_V6 and not any(address in block for block in _SPECIAL_V6)
