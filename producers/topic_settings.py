"""Raising settings of topics that exist already: an installation that grew older than its settings."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import for_code

from runtime.logs import get_logger

log = get_logger(__name__)

MAX_MESSAGE: Final = "max.message.bytes"
MIN_IN_SYNC: Final = "min.insync.replicas"
# How the broker tells where a value comes from: 1 is the topic's own.
OWN: Final = 1


class Plan(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def config(self) -> Mapping[str, str]: ...


async def raise_settings(admin: AIOKafkaAdminClient, plans: Sequence[Plan]) -> None:
    """Raise what is too low in the topics of the plans, and nothing else. Raises `KafkaError` where none answers."""
    if not plans:
        return
    asked = [ConfigResource(ConfigResourceType.TOPIC, plan.name) for plan in plans]
    found = {topic: entries for answer in await admin.describe_configs(asked) for topic, entries in _told(answer)}
    changes = [
        # This request replaces all that a topic has of its own.
        ConfigResource(ConfigResourceType.TOPIC, plan.name, {**_own(found[plan.name]), **raised})
        for plan in plans
        if (raised := too_low(plan.config, found.get(plan.name, {})))
    ]
    for answer in await admin.alter_configs(changes) if changes else ():
        for code, message, _, topic in answer.resources:
            if code:
                error = message or for_code(code).__name__
                log.warning("settings of the topic cannot be raised", topic=topic, error=error)
            else:
                log.info("settings of the topic were raised", topic=topic)


def too_low(wanted: Mapping[str, str], found: Mapping[str, tuple[str, bool]]) -> dict[str, str]:
    """What is to be raised. `found` maps a setting to its value, and to whether it was set for this very topic.

    A number of copies that somebody chose for the topic is left: it weighs safety against being able to write.
    """
    raised = {}
    for name, chosen_counts in ((MAX_MESSAGE, False), (MIN_IN_SYNC, True)):
        if name in wanted and name in found:
            value, chosen = found[name]
            if int(value) < int(wanted[name]) and not (chosen and chosen_counts):
                raised[name] = wanted[name]
    return raised


def _told(answer: Any) -> Iterator[tuple[str, dict[str, tuple[str, bool]]]]:
    for code, _, _, topic, entries in answer.resources:
        if code == 0:
            yield topic, {name: (value, source == OWN) for name, value, _, source, *_ in entries}


def _own(found: Mapping[str, tuple[str, bool]]) -> dict[str, str]:
    return {name: value for name, (value, own) in found.items() if own}
