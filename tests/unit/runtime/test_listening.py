"""Which clients a socket is for."""

import socket

import pytest

from runtime.process import listen


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_a_server_on_every_address_is_reached_by_both_families() -> None:
    with listen("::", 0) as server:
        port = server.getsockname()[1]
        for address in ("127.0.0.1", "::1"):
            socket.create_connection((address, port), timeout=5).close()


def test_what_a_server_writes_does_not_wait_for_what_it_wrote_before() -> None:
    with listen("127.0.0.1", 0) as server, socket.create_connection(server.getsockname(), timeout=5):
        accepted, _ = server.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_server_on_one_address_is_reached_there_alone() -> None:
    with listen("127.0.0.1", 0) as server:
        assert server.getsockname()[0] == "127.0.0.1"
