"""What a client may take of a server: silent, slow and greedy ones are ended, honest ones served."""

import asyncio
import dataclasses
import itertools
from collections.abc import Iterable
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from runtime.http_limits import GRACE_S, MAX_HEAD_BYTES, MAX_HEADERS
from runtime.http_protocol import LimitedProtocol
from tests.examples import examples
from tests.unit.runtime.http_house import LIMITS, MiB, http_house
from tests.waiting import eventually, soon

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
LATER_S = 3 * GRACE_S


# Honest clients


async def test_requests_are_answered_one_after_the_other_on_one_connection() -> None:
    async with http_house() as house:
        peer = await house.connect()
        for body in (b"", b"abc", b"x" * 300_000):
            await peer.send(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            assert await peer.answer() == (200, b"%d" % len(body))
        assert house.held_bytes == 0


async def test_pipelined_requests_are_answered_in_their_order() -> None:
    async with http_house() as house:
        peer = await house.connect()
        await peer.send(b"".join(POST + b"Content-Length: %d\r\n\r\n" % n + b"x" * n for n in range(100)))
        assert [(await peer.answer())[1] for _ in range(100)] == [b"%d" % n for n in range(100)]
        await eventually(lambda: house.held_bytes == 0)


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What a server writes, piece by piece."""
    pieces: list[bytes] = []
    made = LimitedProtocol.connection_made

    class Recorded:
        def __init__(self, transport: asyncio.Transport) -> None:
            self._transport = transport

        def __getattr__(self, name: str) -> Any:
            return getattr(self._transport, name)

        def write(self, data: bytes) -> None:
            pieces.append(data)
            self._transport.write(data)

        def writelines(self, data: Iterable[bytes]) -> None:
            self.write(b"".join(data))

    def record(protocol: LimitedProtocol, transport: asyncio.Transport) -> None:
        made(protocol, cast(asyncio.Transport, Recorded(transport)))

    monkeypatch.setattr(LimitedProtocol, "connection_made", record)
    return pieces


async def test_an_answer_goes_out_in_one_piece(writes: list[bytes]) -> None:
    async with http_house() as house:
        peer = await house.connect()
        for _ in range(2):
            await peer.send(GET)
            assert await peer.answer() == (200, b"0")
        assert [(piece[:8], piece[-1:]) for piece in writes] == [(b"HTTP/1.1", b"0")] * 2


async def test_a_head_does_not_wait_for_a_body_that_comes_later(writes: list[bytes]) -> None:
    async with http_house() as house:
        house.ends = asyncio.Event()
        peer = await house.connect()
        await peer.send(GET)
        assert (await soon(peer.reader.readuntil(b"\r\n\r\n"))).startswith(b"HTTP/1.1 200")
        house.ends.set()
        assert await peer.reader.readexactly(1) == b"0"
        assert len(writes) == 2


async def test_the_answer_to_a_head_request_is_its_head() -> None:
    async with http_house() as house:
        peer = await house.connect()
        await peer.send(b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answer = await peer.ended()
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.endswith(b"\r\n\r\n")


async def test_a_chunked_body_of_many_small_chunks_is_taken_whole() -> None:
    async with http_house() as house:
        peer = await house.connect()
        await peer.send(CHUNKED + b"1\r\nx\r\n" * 50_000 + b"0\r\n\r\n")
        assert await peer.answer() == (200, b"50000")


async def test_who_waits_for_a_word_before_its_body_gets_it() -> None:
    async with http_house() as house:
        peer = await house.connect()
        await peer.send(POST + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert await peer.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await peer.send(b"ab")
        assert await peer.answer() == (200, b"2")


# As Java's client sends the first request of a connection.
UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n"


async def test_a_request_that_would_rather_speak_http_2_is_answered_whole() -> None:
    async with http_house() as house:
        peer = await house.connect()
        await peer.send(POST + UPGRADE + b"Content-Length: 3\r\n\r\nabc")
        assert await peer.answer() == (200, b"3")
        await peer.send(POST + UPGRADE + b"Content-Length: 20000\r\n\r\n")
        await peer.send(20_000 * b"x" + CHUNKED.replace(b"Host", UPGRADE + b"Host") + b"2\r\nab\r\n0\r\n\r\n" + GET)
        assert [await peer.answer() for _ in range(3)] == [(200, b"20000"), (200, b"2"), (200, b"0")]
        await eventually(lambda: house.held_bytes == 0)


async def test_who_takes_the_server_for_a_proxy_is_told_that_it_is_none() -> None:
    async with http_house() as house:
        peer = await house.connect()
        await peer.send(b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n")
        assert await peer.answer() == (400, b"The server is no proxy.")
        assert await peer.ended() == b""


async def test_an_http_1_0_client_is_answered_and_closed() -> None:
    async with http_house() as house:
        peer = await house.connect()
        await peer.send(b"GET / HTTP/1.0\r\n\r\n")
        assert await peer.answer() == (200, b"0")
        assert await peer.ended() == b""


async def test_an_answer_may_take_as_long_as_the_application_likes() -> None:
    async with http_house() as house:
        house.go.clear()
        peer = await house.connect()
        await peer.send(GET)
        await eventually(lambda: house.running)
        house.clock.pass_s(1000)
        house.go.set()
        assert await peer.answer() == (200, b"0")


async def test_a_body_at_the_least_rate_is_waited_for() -> None:
    async with http_house() as house:
        peer = await house.connect()
        await peer.send(POST + b"Content-Length: 60000\r\n\r\n" + b"x" * 50_000)
        await eventually(lambda: house.running)
        house.clock.pass_s(GRACE_S + 49)
        await peer.send(b"x" * 10_000)
        assert await peer.answer() == (200, b"60000")


# Slow and silent ones


async def test_a_client_that_never_says_anything_is_closed() -> None:
    async with http_house() as house:
        peer = await house.connect()
        await eventually(lambda: len(house.connections))
        house.clock.pass_s(LIMITS.head_timeout_s + 1)
        assert await peer.ended() == b""


@pytest.mark.parametrize("part", [b"P", b"POST /v1/jo", POST, POST + b"X: y"])
async def test_a_head_that_is_not_whole_in_time_is_answered_408(part: bytes) -> None:
    async with http_house() as house:
        peer = await house.connect()
        await peer.send(part)
        await eventually(lambda: house.awaits_head)
        house.clock.pass_s(LIMITS.head_timeout_s - 1)
        house.clock.pass_s(LIMITS.head_timeout_s + 1)
        assert (await peer.ended()).startswith(b"HTTP/1.1 408 ")


async def test_blank_lines_do_not_keep_a_connection_open() -> None:
    async with http_house() as house:
        peer = await house.connect()
        await peer.send(GET)
        await peer.answer()
        await peer.send(b"\r\n" * 10)
        house.clock.pass_s(LIMITS.idle_timeout_s - 1)
        await peer.send(b"\r\n" * 10)
        house.clock.pass_s(LIMITS.idle_timeout_s + 1)
        assert await peer.ended() == b""


async def test_an_idle_connection_is_closed_in_time() -> None:
    async with http_house() as house:
        peer = await house.connect()
        await peer.send(GET)
        await peer.answer()
        house.clock.pass_s(LIMITS.idle_timeout_s - 1)
        await peer.send(GET)
        assert await peer.answer() == (200, b"0")
        house.clock.pass_s(LIMITS.idle_timeout_s + 1)
        assert await peer.ended() == b""


@pytest.mark.parametrize("start", [POST + b"Content-Length: 5\r\n\r\n", CHUNKED + b"1\r\n{\r\n", CHUNKED + b"5;x=y"])
async def test_a_body_that_does_not_come_is_answered_408_and_the_application_told(start: bytes) -> None:
    async with http_house() as house:
        peer = await house.connect()
        await peer.send(start)
        await eventually(lambda: house.running)
        house.clock.pass_s(LATER_S)
        assert (await peer.ended()).startswith(b"HTTP/1.1 408 ")
        await eventually(lambda: house.gone == 1)
        assert house.held_bytes == 0


async def test_a_client_that_does_not_read_its_answer_is_cut_off() -> None:
    async with http_house(spare_bytes=64 * MiB) as house:
        house.answer = b"x" * (32 * MiB)
        peer = await house.connect()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await peer.send(GET)
        await eventually(lambda: house.held_bytes > MiB)
        house.clock.pass_s(GRACE_S - 1)
        assert len(house.connections) == 1
        house.clock.pass_s(LATER_S)
        await eventually(lambda: not len(house.connections))
        assert house.held_bytes == 0


# Greedy ones


@pytest.mark.parametrize(
    "unit",
    [
        pytest.param([b"POST /", b"x" * 1000], id="a path that does not end"),
        pytest.param([POST + b"X: ", b"y" * 1000], id="a value that does not end"),
        pytest.param([POST, b"z" * 1000], id="a name that does not end"),
        pytest.param([POST, b"X: 1\r\n" * 100], id="headers that do not end"),
        pytest.param([b"", b"\r\n" * 500], id="blank lines that do not end"),
        pytest.param([CHUNKED + b"1", b";x=yyyyyyyyyyyyyyyyyyy" * 50], id="an extension that does not end"),
        pytest.param([CHUNKED + b"0\r\n", b"X: 1\r\n" * 100], id="trailers that do not end"),
        pytest.param([CHUNKED + b"1\r\nx\r\n" * 1000 + b"0\r\nX: ", b"y" * 1000], id="a trailer that does not end"),
    ],
)
async def test_a_head_without_end_is_cut_off_at_tens_of_kilobytes(unit: list[bytes]) -> None:
    async with http_house() as house:
        peer = await house.connect()
        answer = asyncio.create_task(peer.ended())
        sent = 0
        for piece in itertools.chain(unit[:1], itertools.repeat(unit[1])):
            await peer.send(piece)
            sent += len(piece)
            if house.refuses or sent > 10 * MAX_HEAD_BYTES:
                break
        assert sent < 10 * MAX_HEAD_BYTES
        later_s = itertools.count(LATER_S, LATER_S)

        def cut_off() -> bool:
            house.clock.pass_s(next(later_s))
            return answer.done()

        await eventually(cut_off)
        assert (await answer).startswith(b"HTTP/1.1 431 ")
        await eventually(lambda: house.held_bytes == 0)


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(CHUNKED + b"0\r\n" + b"X: 1\r\n" * 6000, id="refused by the server"),
        pytest.param(CHUNKED + b"ffffffff\r\n", id="answered by the application"),
    ],
)
async def test_who_goes_on_sending_after_its_answer_is_cut_off(start: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.http_protocol.DRAIN_BYTES", MiB)
    async with http_house(spare_bytes=64 * MiB) as house:
        house.hasty = True
        peer = await house.connect()
        await peer.send(start)
        await eventually(lambda: len(house.connections) and not house.running)
        peer.writer.write(b"x" * 32 * MiB)
        await peer.ended()
        await eventually(lambda: not len(house.connections))


async def test_a_whole_head_of_too_many_headers_never_reaches_the_application() -> None:
    async with http_house() as house:
        peer = await house.connect()
        await peer.send(POST + b"X: 1\r\n" * MAX_HEADERS + b"Content-Length: 0\r\n\r\n")
        assert (await peer.ended()).startswith(b"HTTP/1.1 431 ")
        assert house.most_running == 0


async def test_a_large_head_is_counted_for_as_long_as_its_request_lasts() -> None:
    async with http_house() as house:
        house.go.clear()
        peer = await house.connect()
        await peer.send(POST + b"X: " + b"y" * 20_000 + b"\r\n\r\n")
        await eventually(lambda: house.running)
        assert house.held_bytes > 20_000
        house.go.set()
        await peer.answer()
        assert house.held_bytes == 0


@pytest.mark.parametrize("body_bytes", [0, 100_000])
async def test_of_many_pipelined_requests_few_are_parsed_at_a_time_and_all_are_answered(body_bytes: int) -> None:
    requests = 10_000
    first = POST + b"Content-Length: %d\r\n\r\n" % body_bytes + b"x" * body_bytes
    async with http_house(spare_bytes=3 * MiB) as house:
        house.go.clear()
        peer = await house.connect()
        sending = asyncio.create_task(peer.send(first + GET * requests))
        await eventually(lambda: house.running)
        house.go.set()
        assert await peer.answer() == (200, b"%d" % body_bytes)
        for _ in range(requests):
            assert await peer.answer() == (200, b"0")
        await sending
        assert house.most_running == 1
        await eventually(lambda: house.held_bytes == 0)


async def test_pipelined_requests_for_which_there_is_no_room_are_cut_off() -> None:
    async with http_house(spare_bytes=100_000) as house:
        house.go.clear()
        peer = await house.connect()
        await peer.send(GET * 10_000)
        await eventually(lambda: house.running)
        assert house.held_bytes <= 100_000
        house.go.set()
        await peer.ended()
        await eventually(lambda: not len(house.connections))
        assert house.held_bytes == 0


async def test_a_body_that_the_application_does_not_take_is_counted() -> None:
    async with http_house() as house:
        house.reads.clear()
        peer = await house.connect()
        await peer.send(POST + b"Content-Length: 60000\r\n\r\n" + b"x" * 60_000)
        await eventually(lambda: house.held_bytes == 60_000)
        house.reads.set()
        assert await peer.answer() == (200, b"60000")
        assert house.held_bytes == 0


async def test_a_body_for_which_there_is_no_room_is_answered_503() -> None:
    async with http_house(spare_bytes=20_000) as house:
        house.reads.clear()
        peer = await house.connect()
        await peer.send(POST + b"Content-Length: 60000\r\n\r\n" + b"x" * 60_000)
        assert (await peer.ended()).startswith(b"HTTP/1.1 503 ")
        await eventually(lambda: house.held_bytes == 0)
        house.reads.set()
        await eventually(lambda: house.gone == 1)


async def test_an_answer_for_which_there_is_no_room_is_cut_off() -> None:
    async with http_house(spare_bytes=MiB) as house:
        house.answer = b"x" * (32 * MiB)
        peer = await house.connect()
        await peer.send(GET)
        assert len(await peer.ended()) < 32 * MiB
        await eventually(lambda: house.held_bytes == 0)


async def test_garbage_behind_a_request_does_not_cost_it_its_answer() -> None:
    async with http_house() as house:
        house.go.clear()
        peer = await house.connect()
        await peer.send(GET + b"\x00\x01garbage\r\n\r\n")
        await eventually(lambda: house.running)
        house.go.set()
        assert await peer.answer() == (200, b"0")
        assert await peer.ended() == b""


# Many connections


async def test_silent_connections_give_way_to_a_client_that_speaks() -> None:
    async with http_house() as house:
        silent = [await house.connect() for _ in range(LIMITS.connections)]
        await eventually(lambda: len(house.connections) == LIMITS.connections)
        for _ in range(2 * LIMITS.connections):
            peer = await house.connect()
            await peer.send(GET)
            assert await peer.answer() == (200, b"0")
        assert [await each.ended() for each in silent] == [b""] * len(silent)


async def test_a_running_request_never_gives_way_and_who_comes_too_late_is_told() -> None:
    async with http_house() as house:
        house.go.clear()
        running = [await house.connect() for _ in range(LIMITS.connections)]
        for peer in running:
            await peer.send(GET)
        await eventually(lambda: house.running == LIMITS.connections)
        late = await house.connect()
        assert (await late.ended()).startswith(b"HTTP/1.1 503 ")
        house.go.set()
        assert [await peer.answer() for peer in running] == [(200, b"0")] * len(running)


async def test_a_server_with_clients_of_every_kind_stops_in_time() -> None:
    async with http_house() as house:
        for start in (b"", b"POST", POST + b"Content-Length: 5\r\n\r\n", GET):
            await (await house.connect()).send(start)
        await eventually(lambda: len(house.connections) == 4)
        async with asyncio.timeout(60):
            await house.server.shutdown()
        await eventually(lambda: not house.server.server_state.connections)


pieces = st.sampled_from(
    [
        *(
            GET,
            POST,
            CHUNKED,
            b"Content-Length: 3\r\n\r\nabc",
            b"Content-Length: 9\r\n\r\n",
            b"3\r\nabc\r\n",
            b"0\r\n\r\n",
        ),
        *(b"Upgrade: h2c\r\nConnection: upgrade\r\n\r\n", b"Transfer-Encoding: gzip\r\n\r\n", b"X: y\r\n" * 50),
        *(b"CONNECT a:1 HTTP/1.1\r\n\r\n", b"GET http://[ HTTP/1.1\r\n\r\n"),
        *(b"\r\n", b"\x00", b"A" * 5000, b"x" * 70_000),
    ]
)


@examples(30, suppress_health_check=list(HealthCheck))
@given(st.lists(pieces, max_size=12), st.booleans())
async def test_whatever_is_sent_nothing_is_held_and_nothing_runs_once_time_has_passed(
    sent: list[bytes], together: bool
) -> None:
    limits = dataclasses.replace(LIMITS, connections=4)
    async with http_house(limits) as house:
        peer = await house.connect()
        for piece in [b"".join(sent)] if together else sent:
            await peer.send(piece)
        later_s = itertools.count(1000, 1000)

        def all_over() -> bool:
            house.clock.pass_s(next(later_s))
            return not house.running and not len(house.connections) and house.held_bytes == 0

        await eventually(all_over)
        other = await house.connect()
        await other.send(GET)
        assert await other.answer() == (200, b"0")
