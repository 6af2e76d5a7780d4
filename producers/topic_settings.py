"""Raising settings of topics that exist already: an installation that grew older than its settings."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import for_code
from aiokafka.protocol.admin import AlterConfigsResponse_v0
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int8, Schema, String

from runtime.logs import get_logger

log = get_logger(__name__)

MAX_MESSAGE: Final = "max.message.bytes"
MIN_IN_SYNC: Final = "min.insync.replicas"
# How the broker tells where a value comes from: 1 is the topic's own.
OWN: Final = 1
SET: Final = 0


class Plan(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def config(self) -> Mapping[str, str]: ...


class _Changed(Response):  # type: ignore[misc] # aiokafka is untyped
    API_KEY = 44
    API_VERSION = 0
    SCHEMA = AlterConfigsResponse_v0.SCHEMA


class _Change(RequestStruct):  # type: ignore[misc]
    API_KEY = 44
    API_VERSION = 0
    RESPONSE_TYPE = _Changed
    SCHEMA = Schema(
        (
            "resources",
            Array(
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
                ("configs", Array(("name", String("utf-8")), ("operation", Int8), ("value", String("utf-8")))),
            ),
        ),
        ("validate_only", Boolean),
    )


class IncrementalAlterConfigs(Request[_Change]):  # type: ignore[misc]
    """Changes what it names and nothing else (KIP-339). The client knows only the request that replaces all."""

    API_KEY = 44

    def __init__(self, changes: Mapping[str, Mapping[str, str]]) -> None:
        """Topic -> setting -> value."""
        self._changes = [
            (ConfigResourceType.TOPIC, topic, [(name, SET, value) for name, value in values.items()])
            for topic, values in changes.items()
        ]

    def build(self, request_struct_class: type[_Change]) -> _Change:
        return request_struct_class(self._changes, False)


async def raise_settings(admin: AIOKafkaAdminClient, plans: Sequence[Plan]) -> None:
    """Raise what is too low in the topics of the plans, and nothing else. Raises `KafkaError` where none answers."""
    if not plans:
        return
    asked = [ConfigResource(ConfigResourceType.TOPIC, plan.name) for plan in plans]
    found = {topic: entries for answer in await admin.describe_configs(asked) for topic, entries in _told(answer)}
    wanted = {plan.name: too_low(plan.config, found.get(plan.name, {})) for plan in plans}
    changes = {topic: raised for topic, raised in wanted.items() if raised}
    if not changes:
        return
    answer = await admin._send_request(IncrementalAlterConfigs(changes))  # noqa: SLF001 - see there
    for code, message, _, topic in answer.resources:
        if code:
            log.warning("settings of the topic cannot be raised", topic=topic, error=message or for_code(code).__name__)
        else:
            log.info("settings of the topic were raised", topic=topic, **changes[topic])


def too_low(wanted: Mapping[str, str], found: Mapping[str, tuple[str, bool]]) -> dict[str, str]:
    """What is to be raised. `found` maps a setting to its value, and to whether it was set for this very topic.

    A number of copies that somebody chose for the topic is left: it weighs safety against being able to write.
    """
    raised = {}
    for name, choice_counts in ((MAX_MESSAGE, False), (MIN_IN_SYNC, True)):
        if name in wanted and name in found:
            value, chosen = found[name]
            if int(value) < int(wanted[name]) and not (chosen and choice_counts):
                raised[name] = wanted[name]
    return raised


def _told(answer: Any) -> Iterator[tuple[str, dict[str, tuple[str, bool]]]]:
    for code, _, _, topic, entries in answer.resources:
        if code == 0:
            yield topic, {name: (value, source == OWN) for name, value, _, source, *_ in entries}
