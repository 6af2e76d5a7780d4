"""Static membership (KIP-345) as far as aiokafka lacks it: losing the id to another process, leaving, new partitions.

A member with a `group.instance.id` that is killed keeps its place in the group for a session: started again within it,
it has its partitions at once, and no other member notices.
"""

from collections.abc import Iterator
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.coordinator.protocol import ConsumerProtocol
from aiokafka.errors import KafkaError, UnknownMemberIdError
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.group import JoinGroupRequest, LeaveGroupRequest, LeaveGroupRequest_v1
from aiokafka.protocol.types import Array, Int16, Int32, Schema, String

from runtime.logs import get_logger

log = get_logger(__name__)

FENCED_INSTANCE_ID: Final = 82  # aiokafka has no name for it


def become_static(client: AIOKafkaConsumer) -> None:
    """Called before each join: aiokafka has made its coordinator by then, and takes no other class for it."""
    coordinator = client._coordinator
    if coordinator._group_instance_id is not None:
        coordinator.__class__ = StaticCoordinator


class StaticCoordinator(GroupCoordinator):  # type: ignore[misc] # aiokafka is untyped
    """A member that asks the broker whether it still has its id, where aiokafka would take it back unasked.

    If another process has it, this one goes on without: two processes under one id share their work as others do.
    """

    _group_instance_id: str | None
    _group_subscription: set[str] | None
    _last_member_id: str = JoinGroupRequest.UNKNOWN_MEMBER_ID

    def reset_generation(self) -> None:
        """The broker does not know this member (any more): it was silent for too long, or another has its id."""
        if self._group_instance_id is not None:
            self._last_member_id = self.member_id or self._last_member_id
        super().reset_generation()

    async def _send_req(self, request: Any) -> Any:
        joining = isinstance(request, JoinGroupRequest)
        if joining and self._last_member_id:
            request._member_id = self._last_member_id
        response = await super()._send_req(request)
        error_code = getattr(response, "error_code", 0)
        if error_code == FENCED_INSTANCE_ID:
            self._go_on_without_id()
            raise UnknownMemberIdError
        if joining and error_code in (0, UnknownMemberIdError.errno):
            self._last_member_id = JoinGroupRequest.UNKNOWN_MEMBER_ID
        return response

    def _go_on_without_id(self) -> None:
        log.error(
            "another process has this one's group instance id: going on without it",
            group=self.group_id,
            group_instance_id=self._group_instance_id,
        )
        self._group_instance_id = None
        self._last_member_id = JoinGroupRequest.UNKNOWN_MEMBER_ID
        self.reset_generation()

    async def _on_join_complete(self, generation: int, member_id: str, protocol: str, assignment: bytes) -> None:
        if self._group_subscription is None:  # somebody else assigned, or nobody did: we have taken our old place
            topics = set(self._subscription.subscription.topics)
            self._metadata_snapshot = await self._partitions_assigned(topics)
            self._group_subscription = topics
        await super()._on_join_complete(generation, member_id, protocol, assignment)

    async def _partitions_assigned(self, topics: set[str]) -> dict[str, int]:
        """How many partitions of each topic the group has shared out.

        aiokafka leaves it to who has assigned them to notice new ones. If that was the process before this one, nobody
        would, and nobody has since it was killed.
        """
        counts = dict.fromkeys(topics, 0)
        try:
            response = await self._send_req(DescribeGroupsRequest([self.group_id]))
        except KafkaError:
            return counts  # they differ from what there is, so the group will assign again
        for topic, partitions in _assigned(response):
            if topic in counts:
                counts[topic] += len(partitions)
        return counts

    async def _maybe_leave_group(self) -> None:
        """aiokafka leaves no group for good that it is a static member of: its partitions would wait for a session."""
        if self._group_instance_id is None:
            await super()._maybe_leave_group()
            return
        try:
            await self._send_req(leave_request(self))
        except KafkaError as error:
            log.info("the group could not be told", group=self.group_id, error=repr(error))


def _assigned(described: Any) -> Iterator[tuple[str, list[int]]]:
    """Of each member of the one group that was asked about, its topics and their partitions."""
    ((_, _, _, _, _, members),) = described.groups
    for _, _, _, _, assignment in members:
        if assignment:  # none while the group rebalances
            yield from ConsumerProtocol.ASSIGNMENT.decode(assignment).assignment


def leave_request(coordinator: Any) -> Request[Any] | None:
    """None where the broker could not tell which member is meant."""
    if isinstance(coordinator, StaticCoordinator) and (instance_id := coordinator._group_instance_id) is not None:
        # By the member id, if it ever had one: it takes away no other process's place.
        return LeaveGroup(coordinator.group_id, coordinator.member_id or coordinator._last_member_id, instance_id)
    return LeaveGroupRequest(coordinator.group_id, coordinator.member_id) if coordinator.member_id else None


class LeaveGroupResponse_v3(Response):  # type: ignore[misc] # noqa: N801 - as aiokafka names them
    API_KEY = 13
    API_VERSION = 3
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        (
            "members",
            Array(("member_id", String("utf-8")), ("group_instance_id", String("utf-8")), ("error_code", Int16)),
        ),
    )


class LeaveGroupRequest_v3(RequestStruct):  # type: ignore[misc] # noqa: N801 - as aiokafka names them
    API_KEY = 13
    API_VERSION = 3
    RESPONSE_TYPE = LeaveGroupResponse_v3
    SCHEMA = Schema(
        ("group", String("utf-8")),
        ("members", Array(("member_id", String("utf-8")), ("group_instance_id", String("utf-8")))),
    )


class LeaveGroup(Request[LeaveGroupRequest_v1 | LeaveGroupRequest_v3]):  # type: ignore[misc] # aiokafka is untyped
    """A static member leaves: with an empty member id, whoever has the instance id."""

    API_KEY = 13

    def __init__(self, group: str, member_id: str, group_instance_id: str) -> None:
        self._group = group
        self._member = (member_id, group_instance_id)

    def build(self, request_struct_class: type[Any]) -> Any:
        if request_struct_class is LeaveGroupRequest_v1:  # brokers before Kafka 2.4
            return request_struct_class(self._group, self._member[0])
        return request_struct_class(self._group, [self._member])
