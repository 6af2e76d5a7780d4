"""aiokafka's clients as all of ours are: made in one place, and mended where they do not outlive what happens."""

import asyncio
import logging
import ssl
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from functools import cached_property
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.admin import DescribeGroupsRequest_v0, DescribeGroupsRequest_v1, DescribeGroupsRequest_v2
from aiokafka.protocol.api import Request
from aiokafka.protocol.metadata import MetadataRequest

from runtime.logs import get_logger
from runtime.settings import KafkaSettings
from schemas.errors import ConfigurationError, PenstockError, QueueUnavailable, TopicMissing

log = get_logger(__name__)
# aiokafka's, where `runtime.logs` lets each reason be told once.
connecting_log = logging.getLogger("aiokafka.client")

ATTEMPTS: Final = 3
PAUSE_S: Final = 0.1
UNREACHED: Final = (KafkaError, OSError, TimeoutError)


class DescribeGroups(Request[DescribeGroupsRequest_v0 | DescribeGroupsRequest_v1 | DescribeGroupsRequest_v2]):  # type: ignore[misc] # aiokafka is untyped
    """aiokafka's own asks for version 3 and reads the answer as one of version 2, which goes wrong for two groups."""

    API_KEY = 15

    def __init__(self, groups: Sequence[str]) -> None:
        self.groups = groups

    def build(self, request_struct_class: Any) -> Any:
        return request_struct_class(list(self.groups))


class _Connection(AIOKafkaConnection):  # type: ignore[misc] # aiokafka is untyped
    def send(self, request: Any, expect_response: bool = True) -> Any:
        """Asked as aiokafka asks, a broker that may makes each topic that it does not have, with settings of its own:
        no control topic would be compacted, and nobody would be told that a lane is missing."""
        if isinstance(request, MetadataRequest):
            request = MetadataRequest(request._topics, allow_auto_topic_creation=False)  # noqa: SLF001
        return super().send(request, expect_response=expect_response)


class KafkaClient(AIOKafkaClient):  # type: ignore[misc] # aiokafka is untyped
    # aiokafka has one lock for all new connections: a broker that accepts and never answers would hold up all others.
    _get_conn_lock: AbstractAsyncContextManager[None] = nullcontext()
    _sync_task: asyncio.Task[None] | None

    @cached_property  # clients that are turned into this class were not made by it
    def _connecting(self) -> defaultdict[tuple[Any, int], asyncio.Lock]:
        return defaultdict(asyncio.Lock)

    async def bootstrap(self) -> None:
        """Learn from any broker who the brokers are. Raises `KafkaConnectionError` where none tells, and
        `ConfigurationError` where one answers and refuses us: no waiting mends that.

        aiokafka's own tells only its log why there is no connection, and leaves it open where it is canceled.
        """
        refusal = None
        for host, port, _ in self.hosts:
            try:
                await self._learn_from(host, port)
                break
            except UNREACHED as error:
                refusal = refusal or self._refusal(error, f"{host}:{port}")
                connecting_log.error("Unable connect to %s:%s: %s", host, port, error)
        else:
            unreached = KafkaConnectionError(f"no broker answers at {self._bootstrap_servers}")
            raise unreached if refusal is None else ConfigurationError(refusal) from unreached
        if self._sync_task is None:
            self._sync_task = asyncio.create_task(self._md_synchronizer())

    async def _learn_from(self, host: str, port: int) -> None:
        connection = await create_conn(
            host,
            port,
            client_id=self._client_id,
            request_timeout_ms=self._request_timeout_ms,
            ssl_context=self._ssl_context,
            security_protocol=self._security_protocol,
            max_idle_ms=self._connections_max_idle_ms,
            sasl_mechanism=self._sasl_mechanism,
            sasl_plain_username=self._sasl_plain_username,
            sasl_plain_password=self._sasl_plain_password,
        )
        try:
            self.cluster.update_metadata(await connection.send(MetadataRequest([])))
            if not self.cluster.brokers():  # nobody it knows of can be asked next: it is, over this connection
                self._conns["bootstrap", ConnectionGroup.DEFAULT] = connection
        finally:
            if connection not in self._conns.values():
                connection.close()

    def _refusal(self, error: Exception, broker: str) -> str | None:
        """What is wrong with our credentials or with the broker's certificate, if anything is."""
        match error:
            case AuthenticationFailedError() | SaslAuthenticationFailed():
                variables = "PENSTOCK_KAFKA_SASL_USERNAME, PENSTOCK_KAFKA_SASL_PASSWORD"
                return f"{variables}: Kafka refuses them: {' '.join(map(str, error.args))}"
            case UnsupportedSaslMechanismError():
                return f"PENSTOCK_KAFKA_SASL_MECHANISM: the broker does not take {self._sasl_mechanism}"
            case ssl.SSLCertVerificationError():
                return f"PENSTOCK_KAFKA_SSL_CAFILE: the certificate of {broker} is not trusted: {error.verify_message}"
        return None

    async def connection(self, node_id: int) -> AIOKafkaConnection | None:
        """A connection to the broker. None if there cannot be one; then the client asks anew who leads what."""
        return await self._get_conn(node_id)

    async def _get_conn(
        self, node_id: Any, *, group: int = ConnectionGroup.DEFAULT, no_hint: bool = False
    ) -> AIOKafkaConnection | None:
        async with self._connecting[node_id, group]:
            connection = await super()._get_conn(node_id, group=group, no_hint=no_hint)
        if connection is not None:
            connection.__class__ = _Connection  # aiokafka makes it, and takes no other class
        return connection

    async def send(self, node_id: int, request: Any, *, group: int = ConnectionGroup.DEFAULT) -> Any:
        """A lost connection that is not told as one would end the task that fetches, or the one that keeps a member in
        its group."""
        try:
            return await super().send(node_id, request, group=group)
        except RuntimeError as error:
            told = lost_if_reset(error)
            if told is error:
                raise
            raise told from error

    async def _metadata_update(self, cluster_metadata: Any, topics: Any) -> bool:
        """Whether it was done. An error that is neither Kafka's nor a timeout would end the one task that does it,
        and nobody would learn of a leader or a topic again."""
        try:
            updated: bool = await super()._metadata_update(cluster_metadata, topics)
        except Exception as error:
            log.warning("metadata cannot be renewed", error=repr(error))
            return False
        return updated


def lost_if_reset(error: Exception) -> Exception:
    """A lost connection for the `RuntimeError` of uvloop, which aiokafka expects nowhere: it is raised for a write to a
    connection that was reset a moment ago. Any other error as it is; all of aiokafka's are of that kind, too."""
    return KafkaConnectionError(str(error)) if type(error) is RuntimeError else error


@asynccontextmanager
async def open_client(
    settings: KafkaSettings, *, within_s: float | None = None, close_within_s: float, **options: Any
) -> AsyncIterator[KafkaClient]:
    """A client that knows the brokers, with the options of all clients, and these. Raises `TimeoutError` where it has
    not heard of them, or is not closed, within so many seconds, and what `KafkaClient.bootstrap` raises."""
    client = KafkaClient(**settings.client_options(), **options)
    try:
        async with asyncio.timeout(within_s):
            await client.bootstrap()
        yield client
    finally:
        async with asyncio.timeout(close_within_s):
            await client.close()


def kafka_consumer(settings: KafkaSettings, **options: Any) -> AIOKafkaConsumer:
    """A consumer that has yet to be started; with the options of all consumers, and these."""
    return _mended(AIOKafkaConsumer(**settings.consumer_options(), **options))


def kafka_admin(settings: KafkaSettings) -> AIOKafkaAdminClient:
    return _mended(AIOKafkaAdminClient(**settings.client_options()))


def _mended(owner: Any) -> Any:
    """Its client is made when it is, and takes no other class."""
    owner._client.__class__ = KafkaClient  # noqa: SLF001 - see above
    return owner


async def partition_counts(
    client: KafkaClient, topics: Iterable[str], until_s: float
) -> Mapping[str, int | PenstockError]:
    """For each topic its number of partitions, or why it cannot be written to; by `until_s` of the loop's time.

    The client keeps the metadata of every topic that it was asked about. Its own way to wait for a topic takes the
    whole request timeout to say that there is none, once for each record, and says the same when no broker answers.
    """
    wanted = set(topics)
    found = _known(client, wanted)
    reached = False
    for name in wanted - found.keys():
        client.add_topic(name)
    with suppress(TimeoutError):
        async with asyncio.timeout_at(until_s):
            for attempt in range(ATTEMPTS):  # an update under way may have begun before it knew of the topics
                if len(found) == len(wanted):
                    break
                if attempt:
                    await asyncio.sleep(PAUSE_S)
                reached = bool(await client.force_metadata_update())
                found = _known(client, wanted)
    return {name: found.get(name) or _why_not(name, reached) for name in wanted}


def _known(client: Any, topics: Iterable[str]) -> dict[str, int]:
    counts = {name: client.cluster.partitions_for_topic(name) for name in topics}
    return {name: len(partitions) for name, partitions in counts.items() if partitions}


def _why_not(topic: str, reached: bool) -> PenstockError:
    return TopicMissing(f"topic {topic} does not exist") if reached else QueueUnavailable("Kafka cannot be reached")
