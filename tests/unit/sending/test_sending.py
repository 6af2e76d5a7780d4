"""Sending over real sockets on loopback: what goes out, and what becomes of what receivers do."""

import asyncio
import gzip
import resource
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from schemas.webhooks import Limits
from stores.webhooks import Verdict
from tests.unit.sending.house import (
    BODY,
    NOW,
    OK,
    SIGNED,
    Authority,
    FixedNames,
    Handle,
    Heard,
    Receiver,
    answering,
    forever,
    read_request,
    receiver,
    send,
)
from tests.waiting import LoopClock, eventually, soon
from workers.notifier.sending.connections import KEPT_S
from workers.notifier.sending.http_sender import USER_AGENT, HttpSender
from workers.notifier.sending.protocols import Reply

ROOT = Path(__file__).parents[3]
TOO_LONG = "the head of its answer is longer than 16384 bytes or 256 lines"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
async def sender(authority: Authority) -> AsyncIterator[HttpSender]:
    names = FixedNames()
    async with HttpSender(lambda: NOW, allow_private=True, tls=authority.trusting, resolver=names) as sender:
        yield sender


async def test_a_request_has_what_the_specification_asks_for_and_the_host_that_was_named(sender: HttpSender) -> None:
    async with receiver(answering(OK)) as there:
        reply = await soon(send(sender, there.url("hooks.example.com")))

        line, headers, body = there.heard.requests[0]
        assert (line, body) == ("POST /hook?x=1 HTTP/1.1", BODY)
        assert headers == SIGNED | {
            "host": f"hooks.example.com:{there.port}",
            "content-type": "application/json",
            "content-length": str(len(BODY)),
            "user-agent": USER_AGENT,
            "accept": "*/*",
            "accept-encoding": "identity",
        }
        assert (reply.verdict, reply.status, reply.error) == (Verdict.DELIVERED, 200, None)
        assert reply.head == "200 OK\ncontent-length: 2\n\nok"


@pytest.mark.parametrize(
    ("answer", "verdict", "retry_after_s"),
    [
        ("204 No Content\r\n", Verdict.DELIVERED, None),
        ("201 Created\r\nRetry-After: 5\r\ncontent-length: 0\r\n", Verdict.DELIVERED, None),
        ("304 Not Modified\r\n", Verdict.FAILED, None),
        ("400 Bad Request\r\ncontent-length: 0\r\n", Verdict.FAILED, None),
        ("410 Gone\r\ncontent-length: 0\r\n", Verdict.GONE, None),
        ("429 Too Many\r\nRetry-After: 120\r\ncontent-length: 0\r\n", Verdict.FAILED, 120),
        ("503 Busy\r\nretry-after: Fri, 02 Jan 2026 03:05:05 GMT\r\ncontent-length: 0\r\n", Verdict.FAILED, 60),
        ("500 Oops\r\ncontent-length: 0\r\n", Verdict.FAILED, None),
        ("999 Oops\r\ncontent-length: 0\r\n", Verdict.FAILED, None),
    ],
)
async def test_an_answer_means_what_its_status_says(
    sender: HttpSender, answer: str, verdict: Verdict, retry_after_s: float | None
) -> None:
    async with receiver(answering(f"HTTP/1.1 {answer}\r\n".encode())) as there:
        reply = await soon(send(sender, there.url()))

    assert (reply.verdict, reply.status, reply.retry_after_s) == (verdict, int(answer[:3]), retry_after_s)


async def test_a_redirect_is_not_followed_not_even_to_the_same_host(sender: HttpSender) -> None:
    async with receiver(answering(b"HTTP/1.1 307 Elsewhere\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n")) as there:
        reply = await soon(send(sender, there.url()))

        assert (reply.verdict, reply.error) == (Verdict.FAILED, "it answered 307: redirects are not followed")
        assert len(there.heard.requests) == 1


async def test_proxies_of_the_environment_are_not_used(sender: HttpSender, monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiver(answering(OK)) as there, receiver(answering(OK)) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")

        await soon(send(sender, there.url()))

        assert (there.heard.connections, proxy.heard.connections) == (1, 0)


async def test_a_connection_is_used_again_and_its_host_is_not_resolved_again(authority: Authority) -> None:
    names = FixedNames()
    async with HttpSender(lambda: NOW, allow_private=True, resolver=names) as sender, receiver(answering(OK)) as there:
        for _ in range(3):
            await soon(send(sender, there.url("hooks.example.com")))

        assert (there.heard.connections, names.asked) == (1, ["hooks.example.com"])


async def test_a_connection_that_its_server_has_closed_is_not_used_again(sender: HttpSender) -> None:
    async def close(writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with receiver(answering(OK, then=close)) as there:
        replies = [await soon(send(sender, there.url())) for _ in range(3)]

        assert [reply.verdict for reply in replies] == [Verdict.DELIVERED] * 3
        assert there.heard.connections == 3


@pytest.mark.parametrize(
    "parts",
    [
        [b"HTTP/1.1 204 No Content\r\n\r\nok"],
        [b"HTTP/1.1 204 No Content\r\n\r\n", b"ok"],
        [OK, b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n"],
        [OK + OK],
        [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" * 2],
        [b"HTTP/1.1 100 Continue\r\n\r\n" + OK + OK],
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_what_comes_behind_an_answer_is_not_the_answer_to_the_next_request(
    sender: HttpSender, authority: Authority, scheme: str, parts: list[bytes]
) -> None:
    async def handle(heard: Heard, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await read_request(reader):
            heard.requests.append(request)
            for part in parts:
                writer.write(part)

    async with receiver(handle, authority.serving("h.example") if scheme == "https" else None) as there:
        replies = [await soon(send(sender, there.url("h.example", scheme))) for _ in range(3)]

        assert [reply.verdict for reply in replies] == [Verdict.DELIVERED] * 3
        assert (len(there.heard.requests), there.heard.connections) == (3, 3)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 500 No\r\ncontent-length: 6\r\n\r\n\r\n\r\nno",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_connection_is_used_again_after_whatever_answer(
    sender: HttpSender, authority: Authority, scheme: str, answer: bytes
) -> None:
    async with receiver(answering(answer), authority.serving("h.example") if scheme == "https" else None) as there:
        for _ in range(3):
            await soon(send(sender, there.url("h.example", scheme)))

        assert (len(there.heard.requests), there.heard.connections) == (3, 1)


async def test_cookies_are_not_kept(sender: HttpSender) -> None:
    async with receiver(answering(b"HTTP/1.1 200 OK\r\nset-cookie: a=b\r\ncontent-length: 0\r\n\r\n")) as there:
        for _ in range(2):
            await soon(send(sender, there.url()))

        assert all("cookie" not in headers for _, headers, _ in there.heard.requests)


# How it hangs, and how long it is let: a receiver that hangs ends its own attempt, at the limit that it has.


async def connects_only(heard: Heard, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    heard.reached = bool(await reader.read(1))
    await forever()


async def answers_half_a_head_then(
    heard: Heard, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, more: bytes
) -> None:
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\n")
    await writer.drain()
    heard.reached = True
    while more:
        writer.write(more)
        await writer.drain()
        await asyncio.wait([asyncio.ensure_future(forever())], timeout=0.01)
    await forever()


async def answers_half_a_head(heard: Heard, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await answers_half_a_head_then(heard, reader, writer, b"")


async def trickles(heard: Heard, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await answers_half_a_head_then(heard, reader, writer, b"a: b\r\n")


async def over_when(sender: HttpSender, url: str, limits: Limits, there: Receiver, loop_clock: LoopClock) -> Reply:
    """What comes of an attempt whose time is over once the receiver has what it wants."""
    task = asyncio.create_task(send(sender, url, limits))
    await eventually(lambda: there.heard.reached)
    loop_clock.pass_s(60)
    return await soon(task)


@pytest.mark.parametrize("handle", [connects_only, answers_half_a_head, trickles])
async def test_a_receiver_that_does_not_answer_in_time_has_failed(
    sender: HttpSender, handle: Handle, loop_clock: LoopClock
) -> None:
    async with receiver(handle) as there:
        reply = await over_when(sender, there.url(), Limits(timeout_s=60), there, loop_clock)

    assert (reply.verdict, reply.status, reply.error) == (Verdict.FAILED, None, "it did not answer within 60 s")


async def test_a_receiver_that_does_not_finish_tls_was_not_connected_to_in_time(
    sender: HttpSender, loop_clock: LoopClock
) -> None:
    async with receiver(connects_only) as there:
        limits = Limits(timeout_s=600, connect_timeout_s=50)
        reply = await over_when(sender, there.url(scheme="https"), limits, there, loop_clock)

    assert (reply.verdict, reply.error) == (Verdict.FAILED, "there was no connection to it within 50 s")


async def test_a_receiver_that_has_answered_is_not_waited_for_to_end_its_body(
    sender: HttpSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.notifier.sending.http_sender._REST_S", 0.05)
    unending = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbegun"
    async with receiver(answering(unending, then=forever)) as there:
        reply = await soon(send(sender, there.url()))

    assert (reply.verdict, reply.status) == (Verdict.DELIVERED, 200)
    assert (reply.head or "").endswith("\n\nbegun")


# What it sends is bounded, whatever it is.


def head_without_end() -> bytes:
    return b"HTTP/1.1 200 OK\r\n" + b"a: bcdefgh\r\n" * 100_000


def line_without_end() -> bytes:
    return b"HTTP/1.1 200 OK\r\na: " + b"b" * 2_000_000


def provisional_without_end() -> bytes:
    return b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100_000


@pytest.mark.parametrize("answer", [head_without_end, line_without_end, provisional_without_end])
async def test_a_head_without_end_is_read_no_further_than_16_kb(sender: HttpSender, answer: object) -> None:
    async with receiver(answering(answer())) as there:  # type: ignore[operator]
        reply = await soon(send(sender, there.url()))

    assert (reply.verdict, reply.error) == (Verdict.FAILED, TOO_LONG)


def large() -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: 50000000\r\n\r\n" + b"x" * 2_000_000


def chunks() -> bytes:
    return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 300_000


def bomb() -> bytes:
    packed = gzip.compress(bytes(20_000_000))
    return b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(packed) + packed


async def test_a_head_of_thousands_of_lines_has_failed(sender: HttpSender) -> None:
    async with receiver(answering(b"HTTP/1.1 200 OK\r\n" + b"a:b\r\n" * 1000 + b"\r\n")) as there:
        reply = await soon(send(sender, there.url()))

    assert (reply.verdict, reply.error) == (Verdict.FAILED, TOO_LONG)


async def test_of_an_answer_in_thousands_of_parts_only_the_first_are_read(sender: HttpSender) -> None:
    answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 1000 + b"0\r\n\r\n"
    async with receiver(answering(answer)) as there:
        replies = [await soon(send(sender, there.url())) for _ in range(2)]

        assert there.heard.connections == 2
    assert [reply.verdict for reply in replies] == [Verdict.DELIVERED] * 2
    assert all((reply.head or "").count("x") < 400 for reply in replies)


@pytest.mark.parametrize("answer", [large, chunks, bomb])
async def test_of_a_body_without_end_no_more_than_16_kb_are_read_and_it_is_delivered(
    sender: HttpSender, answer: object
) -> None:
    async with receiver(answering(answer(), OK)) as there:  # type: ignore[operator]
        reply = await soon(send(sender, there.url()))
        again = await soon(send(sender, there.url()))

        assert (reply.verdict, again.verdict) == (Verdict.DELIVERED, Verdict.DELIVERED)
        assert len(reply.head or "") < 1100
        assert there.heard.connections == 2  # the first is full of what nobody read


# What is none.


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", "it closed the connection without an answer"),
        (b"HTTP/1.1 200 OK\r\nconte", "it closed the connection without an answer"),
        (b"hello\r\n\r\n", "it answered something that is not HTTP/1.1"),
        (b"HTTP/1.1 2xx OK\r\n\r\n", "it answered something that is not HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\na b\r\n\r\n", "it answered something that is not HTTP/1.1"),
        (b"\x00\xff" * 100, "it answered something that is not HTTP/1.1"),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
            "it answered something that is not HTTP/1.1",
        ),
    ],
    ids=["nothing", "half a head", "text", "bad status", "bad header", "bytes", "two lengths"],
)
async def test_what_is_no_answer_is_told_in_words_of_ours(sender: HttpSender, answer: bytes, error: str) -> None:
    async def hang_up(writer: asyncio.StreamWriter) -> None:
        writer.write_eof()
        await forever()

    async with receiver(answering(answer, then=hang_up)) as there:
        reply = await soon(send(sender, there.url()))

    assert (reply.verdict, reply.status, reply.error, reply.head) == (Verdict.FAILED, None, error, None)


async def test_a_receiver_that_resets_the_connection_has_failed(sender: HttpSender) -> None:
    async def reset(_heard: Heard, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with receiver(reset) as there:
        reply = await soon(send(sender, there.url()))

    assert reply.verdict is Verdict.FAILED
    assert reply.error in {
        "the connection broke before there was an answer",
        "it closed the connection without an answer",
    }


async def test_an_answer_before_the_request_was_read_is_an_answer(sender: HttpSender) -> None:
    async def refuse(_heard: Heard, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.write_eof()
        await forever()

    async with receiver(refuse) as there:
        reply = await soon(sender.send(there.url(), SIGNED, b"x" * 50_000, Limits(timeout_s=60)))

    assert (reply.verdict, reply.status) == (Verdict.FAILED, 413)


async def test_a_body_that_breaks_off_does_not_take_back_what_the_status_said(sender: HttpSender) -> None:
    async def hang_up(writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with receiver(answering(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok", then=hang_up)) as there:
        reply = await soon(send(sender, there.url()))

    assert reply.verdict is Verdict.DELIVERED


async def test_what_an_answer_says_is_shown_short_and_printable(sender: HttpSender) -> None:
    answer = b"HTTP/1.1 500 Oops\r\nx: \xe9\r\ncontent-length: 2003\r\n\r\n\x00\x1b[" + b"y" * 2000
    async with receiver(answering(answer)) as there:
        reply = await soon(send(sender, there.url()))

    head, _, text = (reply.head or "").partition("\n\n")
    assert head == "500 Oops\nx: é\ncontent-length: 2003"
    assert text == "\ufffd\ufffd[" + "y" * 494 + "..."


async def test_a_port_that_nobody_listens_on_refuses(sender: HttpSender) -> None:
    async with receiver(answering(OK)) as there:
        url = there.url()

    reply = await soon(send(sender, url))

    assert (reply.verdict, reply.error) == (Verdict.FAILED, "it refused the connection, or cannot be reached")


async def test_that_we_may_open_no_more_files_is_not_the_receivers_fault(sender: HttpSender) -> None:
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with receiver(answering(OK)) as there:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, most))  # those that are open stay so
        try:
            reply = await soon(send(sender, there.url()))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, most))

    assert (reply.verdict, reply.error) == (Verdict.OURS, "we can open no further connection at the moment")


async def test_the_next_address_is_dialled_where_the_first_refuses() -> None:
    names = FixedNames(("127.0.0.2", "::1", "127.0.0.1"))
    async with HttpSender(lambda: NOW, allow_private=True, resolver=names) as sender, receiver(answering(OK)) as there:
        reply = await soon(send(sender, there.url("hooks.example.com")))

    assert reply.verdict is Verdict.DELIVERED


async def test_a_hundred_receivers_that_hang_hold_nobody_up(sender: HttpSender) -> None:
    async with receiver(connects_only) as hanging, receiver(answering(OK)) as there:
        stuck = [asyncio.create_task(send(sender, hanging.url(f"h{number}.example"))) for number in range(100)]
        try:
            for _ in range(20):
                assert (await soon(send(sender, there.url()))).verdict is Verdict.DELIVERED
            assert not any(task.done() for task in stuck)
            assert there.heard.connections == 1
        finally:
            for task in stuck:
                task.cancel()
            await asyncio.gather(*stuck, return_exceptions=True)


async def test_an_attempt_that_is_canceled_leaves_nothing_behind(sender: HttpSender) -> None:
    async with receiver(connects_only) as there:
        task = asyncio.create_task(send(sender, there.url()))
        await eventually(lambda: there.heard.reached)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert not sender._connections._pools


FIRST = """
import asyncio, sys
from workers.notifier.main import NotifierRole
from stores.sealing import KeyRing
from tests.unit.sending.house import NOW, OK, FixedNames, answering, receiver, send
from workers.notifier.sending.http_sender import HttpSender

async def main():
    async with receiver(answering(OK)) as there:
        async with HttpSender(lambda: NOW, allow_private=True, resolver=FixedNames()) as sender:
            assert "_tls" in vars(sender)
            before = set(sys.modules)
            ring = KeyRing({"a": bytes(32)})
            assert ring.open(ring.seal("secret", "default", "we_a"), "default", "we_a") == "secret"
            assert (await send(sender, there.url())).status == 200
            print(sorted(set(sys.modules) - before))

asyncio.run(main())
"""


async def test_the_first_event_waits_for_nothing_to_be_loaded() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", FIRST, stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    told, _ = await soon(process.communicate())
    assert told.decode().strip() == "[]"


async def test_connections_that_nobody_uses_are_closed_though_nothing_more_is_sent(loop_clock: LoopClock) -> None:
    names = FixedNames()
    async with HttpSender(lambda: NOW, allow_private=True, resolver=names) as sender, receiver(answering(OK)) as there:
        for number in range(5):
            await soon(send(sender, there.url(f"h{number}.example")))
        assert len(sender._connections._pools) == 5

        loop_clock.pass_s(KEPT_S)
        await eventually(lambda: not sender._connections._pools)
        assert not sender._connections._idle_since

        await soon(send(sender, there.url("h0.example")))
        loop_clock.pass_s(KEPT_S)
        await eventually(lambda: not sender._connections._pools)


async def test_of_origins_that_are_idle_only_so_many_keep_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.notifier.sending.connections.MOST_IDLE", 2)
    names = FixedNames()
    async with HttpSender(lambda: NOW, allow_private=True, resolver=names) as sender, receiver(answering(OK)) as there:
        for number in range(4):
            await soon(send(sender, there.url(f"h{number}.example")))

        assert list(sender._connections._pools) == [f"http://h{number}.example:{there.port}" for number in (2, 3)]


# TLS.


async def test_tls_has_the_name_of_the_host_though_an_address_was_dialled(
    sender: HttpSender, authority: Authority
) -> None:
    async with receiver(answering(OK), authority.serving("hooks.example.com")) as there:
        reply = await soon(send(sender, there.url("hooks.example.com", "https")))

        assert reply.verdict is Verdict.DELIVERED
        assert there.heard.names == ["hooks.example.com"]
        assert there.heard.requests[0][1]["host"] == f"hooks.example.com:{there.port}"


async def test_a_certificate_may_be_for_an_address(sender: HttpSender, authority: Authority) -> None:
    async with receiver(answering(OK), authority.serving("127.0.0.1")) as there:
        reply = await soon(send(sender, there.url("127.0.0.1", "https")))

    assert reply.verdict is Verdict.DELIVERED


async def test_an_ipv6_address_is_dialled_and_named_in_brackets(authority: Authority) -> None:
    names = FixedNames(("::1",))
    async with (
        HttpSender(lambda: NOW, allow_private=True, tls=authority.trusting, resolver=names) as sender,
        receiver(answering(OK), authority.serving("::1"), "::1") as there,
    ):
        reply = await soon(send(sender, there.url("[::1]", "https")))

        assert reply.verdict is Verdict.DELIVERED
        assert there.heard.requests[0][1]["host"] == f"[::1]:{there.port}"


@pytest.mark.parametrize(
    ("certificate", "error"),
    [
        ({"host": "other.example.com"}, "Hostname mismatch"),
        ({"host": "hooks.example.com", "own": True}, "self-signed certificate"),
        ({"host": "hooks.example.com", "days": -1}, "certificate has expired"),
    ],
    ids=["other name", "self-signed", "expired"],
)
async def test_a_certificate_that_is_not_right_is_refused_and_nothing_is_sent(
    sender: HttpSender, authority: Authority, certificate: dict[str, object], error: str
) -> None:
    async with receiver(answering(OK), authority.serving(**certificate)) as there:  # type: ignore[arg-type]
        reply = await soon(send(sender, there.url("hooks.example.com", "https")))

        assert reply.verdict is Verdict.FAILED
        assert (reply.error or "").startswith(f"its certificate is not accepted: {error}")
        assert there.heard.requests == []


async def test_what_does_not_speak_tls_has_failed(sender: HttpSender) -> None:
    async with receiver(answering(b"")) as there:

        async def talk(_heard: Heard, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(OK)
            await forever()

        async with receiver(talk) as talking:
            reply = await soon(send(sender, talking.url(scheme="https")))

    assert (reply.verdict, reply.error) == (Verdict.FAILED, "TLS could not be agreed on with it")
    assert there.heard.connections == 0
