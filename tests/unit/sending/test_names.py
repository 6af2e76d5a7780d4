"""Names of hosts, by a real name server on loopback that means no good."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_address

import pytest

from schemas.webhooks import Limits
from stores.webhooks import Verdict
from tests.unit.sending.house import NOW, OK, FixedNames, answering, receiver, send
from tests.unit.sending.name_server import FAILURE, NOT_FOUND, SILENCE, NameServer, Zone, name_server
from tests.waiting import LoopClock, eventually, soon
from workers.notifier.sending.http_sender import HttpSender
from workers.notifier.sending.names import MOST_ANSWERS, NO_PUBLIC_ADDRESS, PublicOnly, Resolver, SystemNames
from workers.notifier.sending.refusals import NotSent


@asynccontextmanager
async def resolving(zone: Zone) -> AsyncIterator[tuple[Resolver, NameServer]]:
    async with name_server(zone) as server, Resolver([server.address]) as resolver:
        yield resolver, server


@asynccontextmanager
async def sending(zone: Zone) -> AsyncIterator[tuple[HttpSender, NameServer]]:
    """By the rules of production."""
    async with resolving(zone) as (resolver, server), HttpSender(lambda: NOW, resolver=resolver) as sender:
        yield sender, server


async def test_a_name_has_the_addresses_of_both_kinds() -> None:
    async with resolving(lambda *_: ("192.0.2.1", "2001:db8::1", "192.0.2.2")) as (resolver, _):
        found = await soon(resolver.addresses("hooks.example.com"))

    assert set(map(str, found)) == {"192.0.2.1", "192.0.2.2", "2001:db8::1"}


async def test_an_address_is_its_own_and_is_not_asked_for() -> None:
    async with resolving(lambda *_: (NOT_FOUND,)) as (resolver, server):
        assert await soon(resolver.addresses("192.0.2.1")) == (ip_address("192.0.2.1"),)
        assert await soon(resolver.addresses("2001:db8::1")) == (ip_address("2001:db8::1"),)
        assert server.asked == []


@pytest.mark.parametrize(
    "answers",
    [
        ("127.0.0.1",),
        ("1.1.1.1", "10.0.0.1"),
        ("1.1.1.1", "::1"),
        ("2606:4700::1111", "fd00::1"),
        ("1.1.1.1", "64:ff9b::7f00:1"),
        ("1.1.1.1", "::ffff:127.0.0.1"),
        ("inside.example.com", "169.254.169.254"),
        ("a.example.net", "b.example.org", "192.168.1.1", "1.1.1.1"),
    ],
    ids=["loopback", "mixed", "mixed kinds", "mixed IPv6", "NAT64", "mapped", "another name", "names of names"],
)
async def test_a_host_of_whose_addresses_one_is_not_public_is_refused_and_none_is_dialled(
    answers: Sequence[str],
) -> None:
    async with sending(lambda *_: answers) as (sender, _):
        reply = await soon(send(sender, "https://hooks.example.com/"))

    assert (reply.verdict, reply.status, reply.error) == (Verdict.REFUSED, None, NO_PUBLIC_ADDRESS)


async def test_what_is_told_of_a_refused_host_does_not_hold_its_address() -> None:
    async with sending(lambda *_: ("10.11.12.13",)) as (sender, _):
        reply = await soon(send(sender, "https://hooks.example.com/"))

    assert "10.11" not in repr(reply)


async def test_the_address_that_was_checked_is_dialled_though_the_name_has_another_one_when_it_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The name server gives the receiver's address at first, and one that was never checked to whoever asks again."""
    monkeypatch.setattr("workers.notifier.sending.names.is_public", lambda address: str(address) == "127.0.0.2")

    def zone(_name: str, before: int, kind: str) -> Sequence[str]:
        return ("127.0.0.2",) if kind == "AAAA" or before == 0 else ("127.0.0.1",)

    async with (
        receiver(answering(OK), host="127.0.0.2") as there,
        resolving(zone) as (resolver, server),
        HttpSender(lambda: NOW, allow_private=True, resolver=PublicOnly(resolver)) as sender,
    ):
        url = there.url("hooks.example.com")

        assert (await soon(send(sender, url))).verdict is Verdict.DELIVERED
        assert server.asked.count(("hooks.example.com", "A")) == 1
        assert there.heard.requests[0][1]["host"] == f"hooks.example.com:{there.port}"

        await sender._connections.aclose()  # a new connection is asked for anew, and checked anew
        assert (await soon(send(sender, url))).error == NO_PUBLIC_ADDRESS
        assert len(there.heard.requests) == 1


@pytest.mark.parametrize(
    ("told", "error"),
    [
        ((NOT_FOUND,), "the name of its host does not exist"),
        ((), "the name of its host has no address"),
        ((FAILURE,), "the name of its host could not be resolved"),
        (("alone.example.com",), "the name of its host has no address"),
    ],
    ids=["no such name", "no addresses", "failure", "a name of nothing"],
)
async def test_a_name_without_addresses_has_failed(told: Sequence[str], error: str) -> None:
    async with resolving(lambda *_: told) as (resolver, _):
        with pytest.raises(NotSent, match=error) as raised:
            await soon(resolver.addresses("hooks.example.com"))

    assert raised.value.verdict is Verdict.FAILED


async def test_nobody_learns_which_names_our_network_has() -> None:
    inside: dict[str, Sequence[str]] = {
        "private.example.com": ("10.0.0.1",),
        "mixed.example.com": ("1.1.1.1", "10.0.0.1"),
        "unknown.example.com": (NOT_FOUND,),
        "empty.example.com": (),
        "broken.example.com": (FAILURE,),
        "many.example.com": [f"10.0.0.{number}" for number in range(MOST_ANSWERS + 1)],
    }
    async with sending(lambda name, *_: inside[name]) as (sender, _):
        replies = [await soon(send(sender, f"https://{name}/")) for name in inside]

    assert {(reply.status, reply.error, reply.head) for reply in replies} == {(None, NO_PUBLIC_ADDRESS, None)}


async def test_a_name_of_very_many_addresses_has_failed() -> None:
    answers = [f"1.1.1.{number}" for number in range(MOST_ANSWERS + 1)]
    async with resolving(lambda *_: answers) as (resolver, _):
        with pytest.raises(NotSent, match=f"must have 1 to {MOST_ANSWERS} addresses"):
            await soon(resolver.addresses("hooks.example.com"))


async def test_name_servers_that_are_silent_hold_nobody_up() -> None:
    def zone(name: str, _before: int, _kind: str) -> Sequence[str]:
        return (SILENCE,) if name.endswith("silent.example") else ("127.0.0.1",)

    async with AsyncExitStack() as opened:
        there = await opened.enter_async_context(receiver(answering(OK)))
        resolver, server = await opened.enter_async_context(resolving(zone))
        sender = await opened.enter_async_context(HttpSender(lambda: NOW, allow_private=True, resolver=resolver))
        stuck = [asyncio.create_task(send(sender, f"https://h{number}.silent.example/")) for number in range(100)]
        try:
            for number in range(10):
                reply = await soon(send(sender, there.url(f"h{number}.example.com")))
                assert reply.verdict is Verdict.DELIVERED
            assert not any(task.done() for task in stuck)
            assert any(name.endswith("silent.example") for name, _ in server.asked)
        finally:
            for task in stuck:
                task.cancel()
            await asyncio.gather(*stuck, return_exceptions=True)


async def test_a_silent_name_server_is_waited_for_no_longer_than_a_connection(loop_clock: LoopClock) -> None:
    async with sending(lambda *_: (SILENCE,)) as (sender, server):
        limits = Limits(timeout_s=600, connect_timeout_s=50)
        task = asyncio.create_task(send(sender, "https://hooks.example.com/", limits))
        await eventually(lambda: server.asked)
        loop_clock.pass_s(60)
        reply = await soon(task)

    assert (reply.verdict, reply.error) == (Verdict.FAILED, "there was no connection to it within 50 s")


async def test_a_name_server_of_ours_that_is_away_is_not_the_endpoint_s_fault() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    async with Resolver([address]) as resolver, HttpSender(lambda: NOW, resolver=resolver) as sender:
        reply = await soon(send(sender, "https://hooks.example.com/"))

    assert reply.verdict is Verdict.OURS


async def test_a_name_is_asked_for_as_it_is_and_not_in_the_domains_of_our_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOCALDOMAIN", "svc.cluster.example")
    async with resolving(lambda *_: (NOT_FOUND,)) as (resolver, server):
        with pytest.raises(NotSent):
            await soon(resolver.addresses("hooks.example.com"))

    assert {name for name, _ in server.asked} == {"hooks.example.com"}


async def test_the_file_of_hosts_is_read() -> None:
    async with resolving(lambda *_: (NOT_FOUND,)) as (resolver, _):
        found = await soon(resolver.addresses("localhost"))

    assert found
    assert all(address.is_loopback for address in found)


async def test_a_url_that_was_taken_when_other_rules_held_is_refused_and_its_name_not_asked_for() -> None:
    names = FixedNames(("1.1.1.1",))
    async with HttpSender(lambda: NOW, resolver=names) as sender:
        for url in ("http://hooks.example.com/", "https://127.0.0.1/", "https://localhost/", "https://u@h.example/"):
            assert (await soon(send(sender, url))).verdict is Verdict.REFUSED

    assert names.asked == []


async def test_our_own_hosts_are_resolved_as_the_system_does(monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(address.is_loopback for address in await soon(SystemNames().addresses("localhost")))

    def fail(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", lambda *_args, **_options: fail())
    with pytest.raises(NotSent) as ours:
        await soon(SystemNames().addresses("proxy.example.com"))
    assert ours.value.verdict is Verdict.OURS
