"""What there is to say of brokers, topics and groups, once their state is known. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from penstock.doctor.findings import Finding, Level
from producers.topic_settings import Other

SUBJECT: Final = "Kafka"
LISTED: Final = 5
# What tells one release from the next: a request, by its number, and from which of its versions on.
RELEASES: Final = (
    ("4.0 or newer", 3, 13),  # Metadata, KIP-1102
    ("3.7 or newer", 75, 0),  # DescribeTopicPartitions, KIP-966
    ("2.3 or newer", 44, 0),  # IncrementalAlterConfigs, KIP-339
)


class Brokers(NamedTuple):
    """How `many`, and of which `version`: in words, None for one too old for us."""

    many: int
    version: str | None
    auto_create: bool


class Partition(NamedTuple):
    """`leader`: the number of a broker, -1 for none. `copies` that it should have, and that are `in_sync`."""

    leader: int
    copies: int
    in_sync: int


class Group(NamedTuple):
    """A consumer group of ours, and how many records it has yet to finish."""

    name: str
    members: int
    lag: int


def version_of(understood: Mapping[int, tuple[int, int]]) -> str | None:
    """A release that a broker is no older than, by the requests that it understands."""
    for words, request, version in RELEASES:
        if request in understood and understood[request][1] >= version:
            return words
    return None


def judged_brokers(brokers: Brokers, servers: str) -> Finding:
    count = f"{brokers.many} broker{'' if brokers.many == 1 else 's'}"
    if brokers.version is None:
        told = f"{count} at {servers}, older than 2.3: settings of topics cannot be raised"
        return Finding(SUBJECT, Level.PROBLEM, told, "use a newer Kafka")
    return Finding(SUBJECT, Level.OK, f"{count} at {servers}, Kafka {brokers.version}")


def judged_topics(topics: Mapping[str, Sequence[Partition]], wanted: Sequence[str]) -> list[Finding]:
    """`topics`: those of ours that there are. `wanted`: those that must be there."""
    missing = [name for name in wanted if name not in topics]
    headless = [name for name, partitions in topics.items() if any(each.leader < 0 for each in partitions)]
    behind = [name for name, partitions in topics.items() if any(each.in_sync < each.copies for each in partitions)]
    found = []
    if missing:
        told = f"{len(missing)} topics are missing: {some(missing)}"
        found.append(Finding(SUBJECT, Level.PROBLEM, told, "run `penstock migrate`"))
    if headless:
        told = f"partitions without a leader, of {some(headless)}: nothing can be written there"
        found.append(Finding(SUBJECT, Level.PROBLEM, told, "bring the brokers back that hold them"))
    if behind:
        told = f"copies that are behind, of {some(behind)}"
        found.append(Finding(SUBJECT, Level.WARNING, told, "see whether a broker is down or slow"))
    if not found:
        count = sum(map(len, topics.values()))
        found.append(Finding(SUBJECT, Level.OK, f"{len(topics)} topics with {count} partitions, each with a leader"))
    return found


def judged_settings(differences: Mapping[str, Mapping[str, Other]]) -> list[Finding]:
    """By topic and setting."""
    remedy = "leave it if it is meant; `kafka-configs.sh --alter` changes it: Penstock changes no topic that is there"
    return [
        Finding(SUBJECT, Level.WARNING, f"{name} of {topic} is {other.found}, and would be {other.planned}", remedy)
        for topic, settings in differences.items()
        for name, other in settings.items()
    ]


def judged_groups(groups: Sequence[Group]) -> list[Finding]:
    if not groups:
        return [Finding(SUBJECT, Level.WARNING, "no group has ever read: no role ran yet", "start the roles")]
    waiting = [group for group in groups if group.lag]
    alone = [group for group in waiting if not group.members]
    found = [
        Finding(
            SUBJECT,
            Level.WARNING,
            f"group {group.name} has no members, and {group.lag} records wait for it",
            "start a role that reads them: a worker with that model, the router, the sink or the rollout controller",
        )
        for group in alone
    ]
    working = [f"{group.name} {group.lag}" for group in waiting if group.members]
    behind = f"; records that wait: {some(working)}" if working else ""
    members = sum(bool(group.members) for group in groups)
    found.append(Finding(SUBJECT, Level.OK, f"{members} of {len(groups)} groups have members{behind}"))
    return found


def some(names: Sequence[str]) -> str:
    """The first of many names."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
