"""How many workers a model version has now: members of its lane's group, as Kafka's coordinators say.

That is true of workers of any release, needs no clock and nothing more of the workers: a worker that is killed counts
until its session is over. One request a coordinator and 100 versions, every few seconds.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from aiokafka.client import CoordinationType
from aiokafka.errors import KafkaError

from producers.kafka_client import DescribeGroups
from runtime.logs import get_logger
from schemas.topics import Lane, LaneClass, Topics

log = get_logger(__name__)

INTERVAL_S: Final = 5.0
# What has not been answered for so long is not known any more.
KNOWN_FOR_S: Final = 30.0
# Answers are taken apart in Python, in the event loop.
GROUPS_AT_ONCE: Final = 100

# Who is in a lane's group to give its jobs away says so by its client's name.
MOVER: Final = "penstock-mover"

Version = tuple[str, str]

# The last: the broker takes no version of the request that is ours.
_FAILURES: Final = (KafkaError, OSError, TimeoutError, NotImplementedError)


class _Members(NamedTuple):
    workers: int = 0
    movers: int = 0


class LaneMembers:
    """What was answered last, for `KNOWN_FOR_S` seconds of `clock_s`."""

    def __init__(self, topics: Topics, clock_s: Callable[[], float]) -> None:
        self._topics = topics
        self._clock_s = clock_s
        self._known: dict[Version, tuple[_Members, float]] = {}
        self._coordinators: dict[str, int] = {}

    def workers(self, model: str, version: str) -> int | None:
        """How many run jobs of the lane. None where that is not known."""
        members = self._members(model, version)
        return None if members is None else members.workers

    def present(self, model: str, version: str) -> int | None:
        """How many are in the lane's group: workers, and routers that give its jobs away. None where that is not
        known."""
        members = self._members(model, version)
        return None if members is None else sum(members)

    def _members(self, model: str, version: str) -> _Members | None:
        members, at_s = self._known.get((model, version), (_Members(), -KNOWN_FOR_S))
        return members if self._clock_s() - at_s < KNOWN_FOR_S else None

    async def ask(self, client: Any, versions: Iterable[Version]) -> None:
        """Ask about all of the versions, by aiokafka's `client`. What is not answered stays as it was, for a while."""
        groups = {self._topics.lane_group(Lane(*version, LaneClass.LIVE)): version for version in versions}
        await self._find_coordinators(client, groups)
        by_coordinator: defaultdict[int, list[str]] = defaultdict(list)
        for group, coordinator in self._coordinators.items():
            by_coordinator[coordinator].append(group)
        answers = await asyncio.gather(
            *(
                _describe(client, coordinator, theirs[start : start + GROUPS_AT_ONCE])
                for coordinator, theirs in by_coordinator.items()
                for start in range(0, len(theirs), GROUPS_AT_ONCE)
            )
        )
        now_s = self._clock_s()
        answered = {group: members for answer in answers for group, members in answer.items()}
        known = {groups[group]: (members, now_s) for group, members in answered.items()}
        self._known = {version: self._known[version] for version in groups.values() if version in self._known} | known
        # Whose coordinator does not answer for it has perhaps another one by now.
        self._coordinators = {group: each for group, each in self._coordinators.items() if group in answered}

    async def _find_coordinators(self, client: Any, groups: Iterable[str]) -> None:
        """Of those groups that had none, or did not get an answer from it."""
        unknown = [group for group in groups if group not in self._coordinators]
        found = await asyncio.gather(*(_coordinator(client, group) for group in unknown))
        self._coordinators |= {
            group: coordinator for group, coordinator in zip(unknown, found, strict=True) if coordinator is not None
        }
        self._coordinators = {group: self._coordinators[group] for group in groups if group in self._coordinators}


async def _coordinator(client: Any, group: str) -> int | None:
    try:
        found: int = await client.coordinator_lookup(CoordinationType.GROUP, group)
    except _FAILURES:
        return None
    return found


async def _describe(client: Any, coordinator: int, groups: Sequence[str]) -> Mapping[str, _Members]:
    """Of each group that was answered, which members it has."""
    try:
        response = await client.send(coordinator, DescribeGroups(groups))
    except _FAILURES as error:
        log.debug("a coordinator does not say who is in its groups", broker=coordinator, error=repr(error))
        return {}
    return {group: _counted(members) for error_code, group, _, _, _, members in response.groups if error_code == 0}


def _counted(members: Sequence[Any]) -> _Members:
    movers = sum(client_id == MOVER for _, client_id, *_ in members)
    return _Members(len(members) - movers, movers)
