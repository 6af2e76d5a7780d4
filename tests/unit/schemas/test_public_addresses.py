"""The table of addresses, held against one that is not ours (ssrfguard) and against Python's."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ssrfguard import DEFAULT_DENIED

from schemas.public_addresses import Address, is_public

# Blocks that IANA has for a purpose and says are reachable, which the other table lets through: no web server is there.
REACHABLE = [
    ip_network(block)
    for block in (
        "192.0.0.9/32",
        "192.0.0.10/32",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.175.48.0/24",
        "2001::/23",
        "2620:4f:8000::/48",
    )
]
GIVEN_OUT = IPv6Network("2000::/3")
BLOCKS = [block.network for block in DEFAULT_DENIED.blocks]


def allowed_elsewhere(address: Address) -> bool:
    return not DEFAULT_DENIED.classify(address).blocked


def edges() -> list[Address]:
    """The first and last address of each block of the other table, and those beside it."""
    numbers = [
        (type(block.network_address), int(block[at]) + step)
        for block in BLOCKS
        for at in (0, -1)
        for step in (-1, 0, 1)
    ]
    return [kind(number) for kind, number in numbers if 0 <= number < 2 ** (32 if kind is IPv4Address else 128)]


in_blocks = st.sampled_from(BLOCKS).flatmap(
    lambda block: st.integers(0, block.num_addresses - 1).map(lambda at: block[at])
)
v4 = st.integers(0, 2**32 - 1).map(IPv4Address)
wrapped = st.tuples(st.sampled_from(["::ffff:0:0", "64:ff9b::", "64:ff9b:1::", "::", "2002::", "2001::"]), v4).map(
    lambda pair: IPv6Address(int(IPv6Address(pair[0])) + int(pair[1]))
)
addresses = st.one_of(v4, st.integers(0, 2**128 - 1).map(IPv6Address), in_blocks, wrapped)


def differs_for_a_reason(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address not in GIVEN_OUT:
        embedded = IPv4Address(int(address) & 0xFFFFFFFF)
        wraps = address in IPv6Network("::ffff:0:0/96") or address in IPv6Network("64:ff9b::/96")
        return differs_for_a_reason(embedded) if wraps else True  # IANA has given out nothing there
    # 6to4, Teredo and ISATAP: we do not ask what is in them, or ask where the other does not.
    tunnels = isinstance(address, IPv6Address) and (
        address in IPv6Network("2002::/16") or address in IPv6Network("2001::/32") or ":5efe:" in address.exploded
    )
    return tunnels or any(address in block for block in REACHABLE if block.version == address.version)


@given(addresses)
def test_what_is_public_is_so_by_another_table_too_and_what_is_not_differs_for_a_reason(address: Address) -> None:
    if is_public(address):
        assert allowed_elsewhere(address)
    elif allowed_elsewhere(address):
        assert differs_for_a_reason(address)


def test_at_the_edges_of_all_special_blocks_the_tables_agree_but_for_those_reasons() -> None:
    for address in edges():
        assert is_public(address) == allowed_elsewhere(address) or (
            not is_public(address) and differs_for_a_reason(address)
        ), address


@given(v4)
def test_of_ipv4_addresses_that_python_calls_global_only_multicast_and_reachable_special_blocks_are_not_public(
    address: IPv4Address,
) -> None:
    special = [*(block for block in REACHABLE if block.version == 4), ip_network("192.88.99.0/24")]
    expected = address.is_global and not address.is_multicast and not any(address in block for block in special)

    assert is_public(address) == expected


@given(v4)
def test_an_address_behind_a_translator_is_as_public_as_the_one_it_stands_for(address: IPv4Address) -> None:
    assert is_public(IPv6Address(f"::ffff:{address}")) == is_public(address)
    assert is_public(IPv6Address(f"64:ff9b::{address}")) == is_public(address)
    assert is_public(IPv6Address(f"2a00:1450::5efe:{address}")) == is_public(address)
    assert is_public(IPv6Address(f"2a00:1450::200:5efe:{address}")) == is_public(address)
    assert not is_public(IPv6Address(f"::{address}"))
    assert not is_public(IPv6Address(f"64:ff9b:1::{address}"))


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1",
        "0.0.0.0",
        "10.1.2.3",
        "169.254.169.254",
        "100.100.100.200",
        "192.168.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:0:7f00:1::",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
        "5f00::1",
        "2001:db8::1",
    ],
)
def test_our_own_networks_and_what_stands_for_them_are_not_public(text: str) -> None:
    assert not is_public(ip_address(text))


@pytest.mark.parametrize(
    "text", ["1.1.1.1", "8.8.8.8", "172.15.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_hosts_on_the_internet_are_public(text: str) -> None:
    assert is_public(ip_address(text))
