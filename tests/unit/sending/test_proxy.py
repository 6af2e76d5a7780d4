"""Sending through an egress proxy of one's own."""

import asyncio
import base64

import pytest
from pydantic import ValidationError

from runtime.settings import mistakes, settings_in
from schemas.webhooks import Limits
from stores.webhooks import Verdict
from tests.unit.sending.house import (
    NOW,
    OK,
    SIGNED,
    Authority,
    Heard,
    Proxy,
    answering,
    forever,
    read_request,
    receiver,
    send,
)
from tests.waiting import LoopClock, eventually, soon
from workers.notifier.sending.http_sender import HttpSender
from workers.notifier.sending.proxies import parse_proxy
from workers.notifier.settings import NotifierSettings


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


def through(port: int, authority: Authority, *, allow_private: bool = False) -> HttpSender:
    """A sender by the settings."""
    settings = settings_in(NotifierSettings, {"PENSTOCK_WEBHOOK_PROXY": f"http://us%40er:pass@localhost:{port}"})
    return HttpSender(lambda: NOW, allow_private=allow_private, proxy=settings.proxy, tls=authority.trusting)


async def test_the_proxy_connects_to_the_host_by_its_name_and_tls_is_with_the_host(authority: Authority) -> None:
    proxy = Proxy()
    async with (
        receiver(answering(OK), authority.serving("hooks.example.com")) as there,
        receiver(proxy.handle) as egress,
        through(egress.port, authority) as sender,
    ):
        proxy.port = there.port
        replies = [await soon(send(sender, "https://hooks.example.com/hook")) for _ in range(2)]

        assert [reply.verdict for reply in replies] == [Verdict.DELIVERED] * 2
        [(line, headers)] = proxy.asked
        assert line == "CONNECT hooks.example.com:443 HTTP/1.1"
        assert headers["proxy-authorization"] == "Basic " + base64.b64encode(b"us@er:pass").decode()
        assert "webhook-signature" not in headers
        assert there.heard.names == ["hooks.example.com"]
        line, headers, _ = there.heard.requests[0]
        assert (line, headers["host"]) == ("POST /hook HTTP/1.1", "hooks.example.com")
        assert headers.items() >= SIGNED.items()
        assert "proxy-authorization" not in headers


async def test_an_ipv6_address_is_named_to_the_proxy_in_brackets(authority: Authority) -> None:
    proxy = Proxy()
    async with (
        receiver(answering(OK), authority.serving("2606:4700::1111")) as there,
        receiver(proxy.handle) as egress,
        through(egress.port, authority) as sender,
    ):
        proxy.port = there.port

        assert (await soon(send(sender, "https://[2606:4700::1111]/"))).verdict is Verdict.DELIVERED
        assert proxy.asked[0][0] == "CONNECT [2606:4700::1111]:443 HTTP/1.1"


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (407, Verdict.OURS),
        (429, Verdict.OURS),
        (500, Verdict.OURS),
        (503, Verdict.OURS),
        (403, Verdict.FAILED),
        (502, Verdict.FAILED),
        (504, Verdict.FAILED),
    ],
)
async def test_what_the_proxy_answers_is_ours_unless_it_says_that_the_host_cannot_be_connected_to(
    authority: Authority, status: int, verdict: Verdict
) -> None:
    proxy = Proxy(b"HTTP/1.1 %d Proxy-internal-10.0.0.7\r\ncontent-length: 0\r\n\r\n" % status)
    async with receiver(proxy.handle) as egress, through(egress.port, authority) as sender:
        reply = await soon(send(sender, "https://hooks.example.com/"))

    assert (reply.verdict, reply.status) == (verdict, None)
    assert "10.0.0.7" not in repr(reply)


async def test_a_proxy_that_is_away_hangs_or_talks_nonsense_is_ours(
    authority: Authority, loop_clock: LoopClock
) -> None:
    async with receiver(answering(OK)) as egress:
        away = egress.port
    async with through(away, authority) as sender:
        assert (await soon(send(sender, "https://hooks.example.com/"))).verdict is Verdict.OURS
    async with receiver(forever) as egress, through(egress.port, authority) as sender:
        task = asyncio.create_task(send(sender, "https://hooks.example.com/", Limits(timeout_s=60)))
        await eventually(lambda: egress.heard.connections)
        loop_clock.pass_s(60)
        assert (await soon(task)).verdict is Verdict.OURS
    async with receiver(answering(b"nonsense\r\n\r\n")) as egress, through(egress.port, authority) as sender:
        assert (await soon(send(sender, "https://hooks.example.com/"))).verdict is Verdict.OURS


@pytest.mark.parametrize(("answers_others", "verdict"), [(True, Verdict.FAILED), (False, Verdict.OURS)])
async def test_a_host_that_the_proxy_reaches_in_no_time_has_failed_if_it_answers_for_others_meanwhile(
    authority: Authority, loop_clock: LoopClock, answers_others: bool, verdict: Verdict
) -> None:
    async def handle(heard: Heard, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await read_request(reader)
        assert request is not None
        heard.requests.append(request)
        if "dead" not in request[0]:
            writer.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
        await forever()

    async with receiver(handle) as egress, through(egress.port, authority) as sender:
        await soon(send(sender, "https://before.example.com/"))
        task = asyncio.create_task(send(sender, "https://dead.example.com/", Limits(timeout_s=60)))
        await eventually(lambda: len(egress.heard.requests) == 2)
        if answers_others:
            await soon(send(sender, "https://other.example.com/"))
        loop_clock.pass_s(60)
        assert (await soon(task)).verdict is verdict


async def test_a_host_behind_the_proxy_that_has_another_certificate_has_failed(authority: Authority) -> None:
    proxy = Proxy()
    async with (
        receiver(answering(OK), authority.serving("other.example.com")) as there,
        receiver(proxy.handle) as egress,
        through(egress.port, authority) as sender,
    ):
        proxy.port = there.port
        reply = await soon(send(sender, "https://hooks.example.com/"))

    assert reply.verdict is Verdict.FAILED
    assert (reply.error or "").startswith("its certificate is not accepted: Hostname mismatch")


async def test_tunnels_that_broke_do_not_gather_while_others_hang(authority: Authority) -> None:
    async def hangs_then_talks_nonsense(
        heard: Heard, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if heard.connections == 1:
            await forever()
        await reader.read(100)
        writer.write(b"this is no TLS")

    proxy = Proxy()
    async with (
        receiver(hangs_then_talks_nonsense) as there,
        receiver(proxy.handle) as egress,
        through(egress.port, authority) as sender,
    ):
        proxy.port = there.port
        hanging = asyncio.create_task(send(sender, "https://hooks.example.com/hook"))
        await eventually(lambda: there.heard.connections == 1)
        replies = [await soon(send(sender, "https://hooks.example.com/hook")) for _ in range(3)]

        assert [reply.verdict for reply in replies] == [Verdict.FAILED] * 3
        assert sum(len(each.pool.connections) for each in sender._connections._pools.values()) <= 1
        hanging.cancel()
        await asyncio.gather(hanging, return_exceptions=True)
        assert not sender._connections._pools


async def test_rules_of_urls_hold_before_a_proxy_too(authority: Authority) -> None:
    proxy = Proxy()
    async with receiver(proxy.handle) as egress, through(egress.port, authority) as sender:
        for url in ("https://169.254.169.254/", "https://localhost/", "http://hooks.example.com/"):
            assert (await soon(send(sender, url))).verdict is Verdict.REFUSED

    assert proxy.asked == []


async def test_plain_http_goes_to_the_proxy_as_a_whole_url_where_the_switch_allows_it(authority: Authority) -> None:
    async with (
        receiver(answering(OK)) as egress,
        through(egress.port, authority, allow_private=True) as sender,
    ):
        assert (await soon(send(sender, "http://hooks.example.com/hook"))).verdict is Verdict.DELIVERED
        assert egress.heard.requests[0][0] == "POST http://hooks.example.com:80/hook HTTP/1.1"


@pytest.mark.parametrize(
    "url",
    ["proxy:3128", "socks5://proxy:1080", "http://", "http://user:hidden@", "http://proxy/path", "http://proxy:port"],
)
def test_a_setting_that_is_no_proxy_is_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(ValidationError) as refused:
        settings_in(NotifierSettings, {"PENSTOCK_WEBHOOK_PROXY": url})

    assert mistakes(refused.value) == ["PENSTOCK_WEBHOOK_PROXY: must be http(s)://[user:password@]host[:port]"]


def test_a_proxy_is_reached_at_the_port_of_its_scheme_unless_it_names_one() -> None:
    assert parse_proxy("http://proxy") == ("http", "proxy", 80, None)
    assert parse_proxy("https://proxy/") == ("https", "proxy", 443, None)
    assert parse_proxy("http://me:p%40ss@[::1]:3128") == ("http", "::1", 3128, ("me", "p@ss"))
