"""The client outlives errors that aiokafka expects nowhere."""

import asyncio
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import (
    IncompatibleBrokerVersion,
    KafkaConnectionError,
    NodeNotReadyError,
    RequestTimedOutError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.admin import ApiVersionResponse_v0
from aiokafka.protocol.metadata import MetadataRequest, MetadataResponse_v0
from pydantic import SecretStr

from producers.kafka_client import KafkaClient, kafka_admin, kafka_consumer
from producers.kafka_publisher import KafkaPublisher
from producers.topics import ensure_topics
from runtime.settings import KafkaSettings
from schemas.errors import ConfigurationError, QueueUnavailable
from tests.waiting import SOON_S, eventually

Opened = Callable[[KafkaSettings], Awaitable[None]]


async def opened_publisher(settings: KafkaSettings) -> None:
    async with KafkaPublisher(settings):
        pass


async def opened_admin(settings: KafkaSettings) -> None:
    await ensure_topics(settings, [])


async def opened_consumer(settings: KafkaSettings) -> None:
    consumer = kafka_consumer(settings)
    try:
        await consumer.start()
    finally:
        await consumer.stop()


def certificate_error(words: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, words)
    error.verify_message = words
    return error


async def test_an_attempt_that_fails_in_an_odd_way_is_not_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = 0

    async def fail_once(*_: object) -> bool:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise RuntimeError("the handler is closed")
        return True

    monkeypatch.setattr(AIOKafkaClient, "_metadata_update", fail_once)
    client = KafkaClient()
    renewing = client._sync_task = asyncio.create_task(client._md_synchronizer())
    async with asyncio.timeout(SOON_S):
        assert [await client.force_metadata_update(), await client.force_metadata_update()] == [False, True]
    assert not renewing.done()
    await client.close()


SASL = KafkaSettings(
    kafka_bootstrap_servers="127.0.0.1:9",
    kafka_security_protocol="SASL_PLAINTEXT",
    kafka_sasl_username="me",
    kafka_sasl_password=SecretStr("wrong"),
)


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (
            SaslAuthenticationFailed("Authentication failed"),
            "PENSTOCK_KAFKA_SASL_USERNAME, PENSTOCK_KAFKA_SASL_PASSWORD: Kafka refuses them: Authentication failed",
        ),
        (
            UnsupportedSaslMechanismError("<AIOKafkaConnection>"),
            "PENSTOCK_KAFKA_SASL_MECHANISM: the broker does not take PLAIN",
        ),
        (
            certificate_error("self-signed certificate"),
            "PENSTOCK_KAFKA_SSL_CAFILE: the certificate of 127.0.0.1:9 is not trusted: self-signed certificate",
        ),
    ],
)
@pytest.mark.parametrize("open_client", [opened_publisher, opened_admin, opened_consumer])
async def test_a_broker_that_refuses_us_is_a_mistake_in_the_settings(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, told: str, open_client: Opened
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr("producers.kafka_client.create_conn", refuse)
    with pytest.raises(ConfigurationError) as caught:
        await open_client(SASL)
    assert caught.value.message == told


async def test_a_broker_that_is_away_is_waited_for() -> None:
    with pytest.raises(QueueUnavailable):
        await opened_admin(SASL)


def cluster(*ports: int) -> MetadataResponse_v0:
    """Of a broker a port, numbered from 0."""
    return MetadataResponse_v0([(number, "127.0.0.1", port) for number, port in enumerate(ports)], [])


class Broker:
    """Listens; says which requests it understands, or, being `frozen`, accepts and says nothing."""

    def __init__(self, *, frozen: bool = False) -> None:
        self._frozen = frozen
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
            await writer.wait_closed()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        if self._frozen:
            return
        (size,) = struct.unpack(">i", await reader.readexactly(4))
        (correlation_id,) = struct.unpack_from(">i", await reader.readexactly(size), 4)
        answer = struct.pack(">i", correlation_id) + ApiVersionResponse_v0(0, [(0, 0, 7), (3, 0, 1)]).encode()
        writer.write(struct.pack(">i", len(answer)) + answer)


@pytest.fixture
async def client() -> AsyncIterator[KafkaClient]:
    opened = KafkaClient(request_timeout_ms=500)
    yield opened
    await opened.close()


class Silent:
    """A connection over which nothing comes."""

    asked = False
    closed = False

    async def send(self, request: object) -> None:
        self.asked = True
        await asyncio.get_running_loop().create_future()

    def close(self) -> None:
        self.closed = True


async def test_who_stops_waiting_for_a_broker_leaves_no_connection_open(
    client: KafkaClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = Silent()

    async def connect(*_: object, **_options: object) -> Silent:
        return silent

    monkeypatch.setattr("producers.kafka_client.create_conn", connect)
    asking = asyncio.create_task(client.bootstrap())
    await eventually(lambda: silent.asked)
    asking.cancel()
    await asyncio.wait([asking])
    assert asking.cancelled()
    assert silent.closed


async def test_a_broker_that_accepts_and_never_answers_holds_up_no_connection_to_another(client: KafkaClient) -> None:
    async with Broker(frozen=True) as frozen, Broker() as awake:
        client.cluster.update_metadata(cluster(frozen, awake))
        waiting = asyncio.create_task(client.connection(0))
        await eventually(client._connecting[0, 0].locked)
        assert await client.connection(1) is not None
        assert not waiting.done()
        assert await waiting is None


async def test_all_who_need_a_connection_to_a_broker_get_the_same(client: KafkaClient) -> None:
    async with Broker() as awake:
        client.cluster.update_metadata(cluster(awake))
        first, second = await asyncio.gather(client.connection(0), client.connection(0))
    assert first is not None
    assert first is second


async def test_no_topic_is_made_by_being_asked_for(client: KafkaClient, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[MetadataRequest] = []

    async def answer(_: AIOKafkaConnection, request: MetadataRequest, **__: object) -> MetadataResponse_v0:
        asked.append(request)
        return cluster(1)

    async with Broker() as awake:
        client.cluster.update_metadata(cluster(awake))
        assert await client.connection(0) is not None
        monkeypatch.setattr(AIOKafkaConnection, "send", answer)
        await client.send(0, MetadataRequest(["ours"]))
        await client._metadata_update(client.cluster, ["others"])
        await client.fetch_all_metadata()
    assert [(request._topics, request._allow_auto_topic_creation) for request in asked] == [
        (["ours"], False),
        (["others"], False),
        (None, False),
    ]


def test_a_write_to_a_connection_just_reset_is_a_lost_connection() -> None:
    """uvloop raises another error for it than asyncio's own loop."""
    uvloop = pytest.importorskip("uvloop")

    async def write() -> None:
        client = KafkaClient()
        async with Broker() as awake:
            client.cluster.update_metadata(cluster(awake))
            connection = await client.connection(0)
            assert connection is not None
            reset = connection._reader  # aiokafka takes the connection for alive until it has read from it
            connection._writer.transport.abort()
            await connection._closed_fut
            reset._eof = False
            with pytest.raises(KafkaConnectionError, match="closed"):
                await client.send(0, MetadataRequest([]))
        await client.close()

    asyncio.Runner(loop_factory=uvloop.new_event_loop).run(write())


async def test_consumers_and_admin_clients_have_the_same_client() -> None:
    consumer, admin = kafka_consumer(KafkaSettings()), kafka_admin(KafkaSettings())
    assert [type(consumer._client), type(admin._client)] == [KafkaClient, KafkaClient]
    await consumer.stop()
    await admin.close()


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (RuntimeError("the handler is closed"), KafkaConnectionError),
        (RequestTimedOutError(), RequestTimedOutError),
        (NodeNotReadyError(), NodeNotReadyError),
        (IncompatibleBrokerVersion(), IncompatibleBrokerVersion),
    ],
)
async def test_only_a_write_to_a_reset_connection_is_a_lost_connection(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, told: type[Exception]
) -> None:
    async def send(*_: object, **_options: object) -> None:
        raise raised

    monkeypatch.setattr(AIOKafkaClient, "send", send)
    with pytest.raises(told) as caught:
        await KafkaClient().send(0, object())
    assert type(caught.value) is told
