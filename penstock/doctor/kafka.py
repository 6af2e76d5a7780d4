"""Kafka: what the brokers say of themselves, of our topics and of our groups."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from penstock.doctor.findings import Finding, Level, Tell
from penstock.doctor.kafka_state import (
    SUBJECT,
    Brokers,
    Group,
    Partition,
    judged_brokers,
    judged_groups,
    judged_settings,
    judged_topics,
    version_of,
)
from penstock.errors import in_a_line
from penstock.migrate_settings import MigrateSettings
from producers.kafka_client import DescribeGroups, kafka_admin, kafka_consumer
from producers.stopping import stop_consumer
from producers.topic_settings import differences
from producers.topics import base_topics
from schemas.errors import ConfigurationError

CONNECT_MS: Final = 5000
AUTO_CREATE: Final = "auto.create.topics.enable"


class KafkaCheck:
    def __init__(self, settings: MigrateSettings) -> None:
        self._settings = settings

    async def __call__(self, tell: Tell) -> None:
        versions = await self._reached(tell)
        if versions is None:
            return
        admin = kafka_admin(self._settings)
        try:
            await admin.start()
            brokers = await brokers_of(admin, version_of(versions))
            tell(judged_brokers(brokers, self._settings.kafka_bootstrap_servers))
            if brokers.auto_create:
                told = f"{AUTO_CREATE} is true: a misspelt topic comes into being, with settings that nobody chose"
                tell(Finding(SUBJECT, Level.WARNING, told, f"set {AUTO_CREATE} to false on the brokers"))
            prefix = f"{self._settings.topic_prefix}."
            topics = await topics_of(admin, prefix)
            wanted = base_topics(self._settings, self._settings.topic_partitions)
            for finding in judged_topics(topics, [plan.name for plan in wanted]):
                tell(finding)
            for finding in judged_settings(await differences(admin, [plan for plan in wanted if plan.name in topics])):
                tell(finding)
            for finding in judged_groups(await groups_of(admin, self._settings, prefix)):
                tell(finding)
        except ConfigurationError as error:
            tell(Finding(SUBJECT, Level.PROBLEM, error.message))
        finally:
            await admin.close()

    async def _reached(self, tell: Tell) -> Mapping[int, tuple[int, int]] | None:
        """What the first broker that answers understands; tells of those that do not answer. None where none does."""
        failures: list[Finding] = []
        versions: Mapping[int, tuple[int, int]] | None = None
        options = self._settings.client_options()
        servers = [server.strip() for server in options.pop("bootstrap_servers").split(",")]
        for server in servers:
            ((host, port, _),) = collect_hosts(server)  # as the roles read it: without a port it is Kafka's own
            try:
                connection = await create_conn(host, port, request_timeout_ms=CONNECT_MS, **options)
            except (KafkaError, OSError, TimeoutError) as error:
                failures.append(unreachable(server, error, alone=len(servers) == 1))
                continue
            versions = versions or dict(connection._versions)  # noqa: SLF001 - it was asked for them as it connected
            connection.close()
        for failure in failures:
            level = Level.WARNING if versions is not None else Level.PROBLEM
            tell(failure._replace(level=level))
        return versions


def unreachable(server: str, error: Exception, *, alone: bool) -> Finding:
    told = f"cannot be reached at {server}: {in_a_line(error)}"
    if "Sasl" in type(error).__name__ or "Authentication" in type(error).__name__:
        remedy = "put PENSTOCK_KAFKA_SASL_MECHANISM, _USERNAME and _PASSWORD right"
    elif "SSL" in type(error).__name__:
        remedy = "put PENSTOCK_KAFKA_SECURITY_PROTOCOL and PENSTOCK_KAFKA_SSL_CAFILE right"
    else:
        remedy = f"start it, or put PENSTOCK_KAFKA_BOOTSTRAP_SERVERS{'' if alone else ' (one of several)'} right"
    return Finding(SUBJECT, Level.PROBLEM, told, remedy)


async def brokers_of(admin: AIOKafkaAdminClient, version: str | None) -> Brokers:
    cluster = await admin.describe_cluster()
    first = cluster["brokers"][0]["node_id"]
    asked = [ConfigResource(ConfigResourceType.BROKER, str(first), {AUTO_CREATE: None})]
    settings = {name: value for answer in await admin.describe_configs(asked) for name, value in _values(answer)}
    return Brokers(len(cluster["brokers"]), version, settings.get(AUTO_CREATE) == "true")


def _values(answer: Any) -> list[tuple[str, str]]:
    return [(name, value) for *_, entries in answer.resources for name, value, *_ in entries]


async def topics_of(admin: AIOKafkaAdminClient, prefix: str) -> Mapping[str, Sequence[Partition]]:
    """The partitions of each of our topics; dead letters have a prefix of their own in front of ours."""
    return {
        topic["topic"]: [
            Partition(each["leader"], len(each["replicas"]), len(each["isr"])) for each in topic["partitions"]
        ]
        for topic in await admin.describe_topics()
        if topic["topic"].startswith((prefix, f"dlq.{prefix}"))
    }


async def groups_of(admin: AIOKafkaAdminClient, settings: MigrateSettings, prefix: str) -> Sequence[Group]:
    names = sorted(name for name, *_ in await admin.list_consumer_groups() if name.startswith(prefix))
    coordinators: Mapping[str, int] = {name: await admin.find_coordinator(name) for name in names}
    members = await members_of(admin, coordinators)
    consumer = kafka_consumer(settings)
    try:
        await consumer.start()
        return [
            Group(name, members.get(name, 0), await lag_of(admin, consumer, name, coordinator))
            for name, coordinator in coordinators.items()
        ]
    finally:
        await stop_consumer(consumer)


async def members_of(admin: AIOKafkaAdminClient, coordinators: Mapping[str, int]) -> Mapping[str, int]:
    by_coordinator: defaultdict[int, list[str]] = defaultdict(list)
    for name, coordinator in coordinators.items():
        by_coordinator[coordinator].append(name)
    answers = [
        await admin._send_request(DescribeGroups(asked), node)  # noqa: SLF001 - see there
        for node, asked in by_coordinator.items()
    ]
    return {name: len(members) for answer in answers for _, name, *_, members in answer.groups}


async def lag_of(admin: AIOKafkaAdminClient, consumer: Any, group: str, coordinator: int) -> int:
    """Records that the group has yet to finish. Those of partitions that it never committed are not known."""
    committed = await admin.list_consumer_group_offsets(group, coordinator)
    done = {at: held.offset for at, held in committed.items() if held.offset >= 0}
    ends: Mapping[TopicPartition, int] = await consumer.end_offsets(list(done)) if done else {}
    return sum(max(0, ends[at] - offset) for at, offset in done.items() if at in ends)
