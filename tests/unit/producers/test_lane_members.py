"""How many workers a version has, as the coordinators of its lane's group say."""

import struct
from io import BytesIO
from types import SimpleNamespace
from typing import Any

from aiokafka.errors import KafkaError, RequestTimedOutError
from aiokafka.protocol.admin import DescribeGroupsResponse_v2

from producers.kafka_client import DescribeGroups
from producers.lane_members import GROUPS_AT_ONCE, KNOWN_FOR_S, MOVER, LaneMembers
from schemas.topics import Topics

ONE, TWO = ("one", "1"), ("two", "1")
TOPICS = Topics("penstock")


class Coordinators:
    """Stands in for aiokafka's client. Groups whose name has an `o` before a `w` are another broker's."""

    def __init__(self, **members: int) -> None:
        self.members = {f"penstock.{name}.1.live": count for name, count in members.items()}
        self.errors: dict[str, int] = {}
        self.silent: set[int] = set()
        self.asked: list[int] = []
        self.looked_up: list[str] = []
        self.too_new = False
        self.movers = 0  # of those of each group

    async def coordinator_lookup(self, _: object, group: str) -> int:
        self.looked_up.append(group)
        if group not in self.members:
            raise KafkaError
        return int("two" in group)

    async def send(self, broker: int, request: DescribeGroups) -> Any:
        self.asked.append(broker)
        if self.too_new:
            request.prepare({15: (3, 6)})
        if broker in self.silent:
            raise RequestTimedOutError
        groups = [
            (self.errors.get(group, 0), group, "Stable", "consumer", "range", self._members(count))
            for group, count in self.members.items()
            if group in request.groups
        ]
        return SimpleNamespace(groups=groups)

    def _members(self, count: int) -> list[tuple[str, str, str, bytes, bytes]]:
        names = [MOVER] * self.movers + ["aiokafka"] * (count - self.movers)
        return [("id", name, "host", b"", b"") for name in names]


def members_of() -> tuple[LaneMembers, SimpleNamespace]:
    clock = SimpleNamespace(now_s=0.0)
    return LaneMembers(TOPICS, lambda: clock.now_s), clock


async def test_each_member_of_a_group_is_a_worker() -> None:
    members, _ = members_of()
    assert members.workers(*ONE) is None
    await members.ask(Coordinators(one=2, two=0), [ONE, TWO])
    assert (members.workers(*ONE), members.workers(*TWO)) == (2, 0)


async def test_a_router_that_gives_the_jobs_of_a_lane_away_is_no_worker_and_is_present() -> None:
    members, _ = members_of()
    client = Coordinators(one=3)
    client.movers = 1
    await members.ask(client, [ONE])
    assert (members.workers(*ONE), members.present(*ONE)) == (2, 3)
    assert members.present(*TWO) is None


async def test_each_coordinator_is_asked_once_for_many_groups() -> None:
    members, _ = members_of()
    names = [f"m{number}" for number in range(GROUPS_AT_ONCE)]
    client = Coordinators(**dict.fromkeys(names, 1), two=1)
    await members.ask(client, [(name, "1") for name in names] + [TWO])
    assert sorted(client.asked) == [0, 1]


async def test_what_is_not_answered_is_known_for_a_while_and_then_is_not() -> None:
    members, clock = members_of()
    client = Coordinators(one=1, two=1)
    await members.ask(client, [ONE, TWO])
    client.silent = {1}
    client.errors = {"penstock.one.1.live": 30}
    clock.now_s = KNOWN_FOR_S - 1
    await members.ask(client, [ONE, TWO])
    assert (members.workers(*ONE), members.workers(*TWO)) == (1, 1)
    clock.now_s = KNOWN_FOR_S
    await members.ask(client, [ONE, TWO])
    assert (members.workers(*ONE), members.workers(*TWO)) == (None, None)


async def test_a_coordinator_is_looked_up_once_and_again_where_it_does_not_answer() -> None:
    members, _ = members_of()
    client = Coordinators(one=1, two=1)
    for _ in range(3):
        await members.ask(client, [ONE, TWO])
    assert len(client.looked_up) == 2
    client.errors = {"penstock.one.1.live": 16}  # it is another broker's now
    await members.ask(client, [ONE, TWO])
    client.errors = {}
    await members.ask(client, [ONE, TWO])
    assert client.looked_up[2:] == ["penstock.one.1.live"]


async def test_a_broker_that_takes_no_request_of_ours_says_nothing() -> None:
    members, _ = members_of()
    client = Coordinators(one=1)
    client.too_new = True
    await members.ask(client, [ONE])
    assert members.workers(*ONE) is None


async def test_a_group_without_coordinator_costs_no_other() -> None:
    members, _ = members_of()
    await members.ask(Coordinators(two=1), [ONE, TWO])
    assert (members.workers(*ONE), members.workers(*TWO)) == (None, 1)


def test_the_request_is_of_a_version_whose_answer_is_read_rightly() -> None:
    request = DescribeGroups(["a", "b"]).prepare({15: (0, 6)})
    assert (2, DescribeGroupsResponse_v2) == (request.API_VERSION, request.RESPONSE_TYPE)
    assert request.encode().startswith(struct.pack(">ih", 2, 1) + b"a")
    group: tuple[object, ...] = (0, "a", "Empty", "consumer", "", [])
    encoded = DescribeGroupsResponse_v2(0, [group, group]).encode()
    assert DescribeGroupsResponse_v2.decode(BytesIO(encoded)).groups == [group, group]
