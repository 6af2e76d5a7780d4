"""Faust, set up as we use it: a stream and a table of bytes in memory, no files, no web server, nothing created.

Only what was found sound of Faust 0.15 is used. Its windows never end after a restart, and `on_window_close` is given
none of their data; so windows are keys of a plain table, which their keeper deletes. A table whose
`recovery_buffer_size` is 1 goes on reading its own changes, and takes older values back; so that is left as it is. What
it has committed is no measure of what is in the table: see `place`.
Everything is of one partition: one process has all of it, and others take over.
"""

import logging
from typing import Any, Final
from uuid import uuid4

import faust
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types.auth import CredentialsT
from faust.types.tables import TableT
from faust.types.topics import TopicT
from mode.threads import ServiceThread, WorkerThread

from runtime.settings import KafkaSettings
from workers.consuming.group_client import HEARTBEATS_PER_SESSION, METADATA_MAX_AGE_MS
from workers.consuming.static_member import become_static

REBALANCE_TIMEOUT_S: Final = 15.0
REQUEST_TIMEOUT_S: Final = 30.0
THREAD_STOP_S: Final = 3.0


class _Thread(WorkerThread):
    """Holds up the end of its process for a few seconds at most, in which a broker may answer."""

    def __init__(self, service: ServiceThread, **more: Any) -> None:
        super().__init__(service, **more)
        self.daemon = True

    def stop(self) -> None:
        self.is_stopped.wait(THREAD_STOP_S)


class _ConsumerThread(AIOKafkaConsumerThread):
    Worker = _Thread

    async def on_start(self) -> None:
        await super().on_start()
        become_static(self._consumer)  # its coordinator is made by now, and joins later


class _Consumer(Consumer):
    def _new_consumer_thread(self) -> AIOKafkaConsumerThread:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)


class _Transport(Transport):
    Consumer = _Consumer


class App(faust.App):
    def _create_directories(self) -> None:
        """Nothing is kept in files."""

    def _new_transport(self) -> Transport:
        return _Transport(self.conf.broker_consumer, self)


def faust_app(settings: KafkaSettings) -> faust.App:
    session_s = settings.kafka_session_timeout_s
    return App(
        settings.topics.rollout_group,
        env={},  # Faust's own variables are none of ours
        broker=";".join(f"kafka://{server.strip()}" for server in settings.kafka_bootstrap_servers.split(",")),
        broker_client_id="penstock-rollout",
        broker_credentials=_credentials(settings.client_options()),
        broker_session_timeout=session_s,
        broker_heartbeat_interval=session_s / HEARTBEATS_PER_SESSION,
        broker_rebalance_timeout=REBALANCE_TIMEOUT_S,
        broker_request_timeout=max(REQUEST_TIMEOUT_S, session_s),
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=settings.group_instance_id,
        consumer_metadata_max_age_ms=METADATA_MAX_AGE_MS,
        producer_request_timeout=REQUEST_TIMEOUT_S,
        producer_max_request_size=settings.max_record_bytes,
        # What members of the group tell each other apart by; one that keeps its place must keep this, too.
        canonical_url=f"http://{settings.group_instance_id or uuid4().hex}",
        store="memory://",
        table_standby_replicas=0,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
    )


def stats_stream(app: faust.App, settings: KafkaSettings) -> TopicT:
    return _topic(app, settings.topics.stats)


def windows_table(app: faust.App, settings: KafkaSettings) -> TableT[bytes, bytes]:
    changes = _topic(app, settings.topics.stats_windows)
    return app.Table("windows", key_type=bytes, value_type=bytes, partitions=1, changelog_topic=changes)


def _topic(app: faust.App, name: str) -> TopicT:
    return app.topic(name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw", partitions=1)


def quiet_faust() -> None:
    """It tells of each of its steps, and while Kafka is away of each record; the keeper tells what is wrong."""
    told = logging.getLogger().level
    for name in ("faust", "mode", __name__):
        logging.getLogger(name).setLevel(told if told <= logging.DEBUG else max(logging.ERROR, told))


def _credentials(options: dict[str, Any]) -> CredentialsT | None:
    """As those of all our clients of Kafka."""
    context = options.get("ssl_context")
    if options["security_protocol"].startswith("SASL"):
        return faust.SASLCredentials(
            mechanism=options["sasl_mechanism"],
            username=options["sasl_plain_username"],
            password=options["sasl_plain_password"],
            ssl_context=context,
        )
    return None if context is None else faust.SSLCredentials(context)
