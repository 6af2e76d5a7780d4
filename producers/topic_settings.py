"""Raising settings of topics that exist already: an installation that grew older than its settings."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

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
TIMESTAMPS: Final = "message.timestamp.type"
BROKERS: Final = "LogAppendTime"
# How the broker tells where a value comes from: 1 is the topic's own.
OWN: Final = 1
SET: Final = 0


# What is raised in topics that exist; all else is left.
RAISED: Final = frozenset([MAX_MESSAGE, MIN_IN_SYNC, TIMESTAMPS])

# A setting's value, and whether it was set for this very topic.
Settings: TypeAlias = Mapping[str, tuple[str, bool]]


class Other(NamedTuple):
    """A setting that is not as planned."""

    found: str
    planned: str


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
    found = await _settings_of(admin, plans)
    for topic, others in _differences(plans, found).items():
        told = {name: f"{other.found}, planned {other.planned}" for name, other in others.items()}
        log.warning("settings of the topic differ from ours and are left as they are", topic=topic, settings=told)
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


async def differences(admin: AIOKafkaAdminClient, plans: Sequence[Plan]) -> Mapping[str, Mapping[str, Other]]:
    """What is set otherwise than planned, but for what is raised when roles start."""
    return _differences(plans, await _settings_of(admin, plans)) if plans else {}


def _differences(plans: Sequence[Plan], found: Mapping[str, Settings]) -> Mapping[str, Mapping[str, Other]]:
    told = {plan.name: different(plan.config, found.get(plan.name, {})) for plan in plans}
    return {topic: others for topic, others in told.items() if others}


def different(wanted: Mapping[str, str], found: Settings) -> Mapping[str, Other]:
    return {
        name: Other(found[name][0], value)
        for name, value in wanted.items()
        if name not in RAISED and name in found and not _same(found[name][0], value)
    }


def _same(found: str, planned: str) -> bool:
    """Policies come in any order, and numbers in any form."""
    try:
        return float(found) == float(planned)
    except ValueError:
        return sorted(found.split(",")) == sorted(planned.split(","))


async def _settings_of(admin: AIOKafkaAdminClient, plans: Sequence[Plan]) -> Mapping[str, Settings]:
    asked = [ConfigResource(ConfigResourceType.TOPIC, plan.name) for plan in plans]
    return {topic: entries for answer in await admin.describe_configs(asked) for topic, entries in _told(answer)}


def too_low(wanted: Mapping[str, str], found: Settings) -> dict[str, str]:
    """What is to be raised. `found` maps a setting to its value, and to whether it was set for this very topic.

    A number of copies that somebody chose for the topic is left: it weighs safety against being able to write.
    """
    raised = {}
    for name, choice_counts in ((MAX_MESSAGE, False), (MIN_IN_SYNC, True)):
        if name in wanted and name in found:
            value, chosen = found[name]
            if int(value) < int(wanted[name]) and not (chosen and choice_counts):
                raised[name] = wanted[name]
    if TIMESTAMPS in wanted and TIMESTAMPS in found and found[TIMESTAMPS][0] != wanted[TIMESTAMPS]:
        raised[TIMESTAMPS] = wanted[TIMESTAMPS]
    return raised


def _told(answer: Any) -> Iterator[tuple[str, Settings]]:
    for code, _, _, topic, entries in answer.resources:
        if code == 0:
            yield topic, {name: (value, source == OWN) for name, value, _, source, *_ in entries}
