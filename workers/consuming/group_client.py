"""aiokafka's consumer, set up so that it does nothing by itself that loses records."""

from collections.abc import Sequence
from typing import Final

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

from producers.kafka_client import kafka_consumer
from runtime.settings import KafkaSettings
from workers.consuming.workarounds import wait_longer_for_the_group

# A tenth of the session: many may be lost before the member is.
HEARTBEATS_PER_SESSION: Final = 10
# drain limit < rebalance timeout < join timeout: a member that drains must not be thrown out while it does,
# and the broker's answer to a join that waits for it must not be given up.
REBALANCE_BEYOND_DRAIN_S: Final = 15.0
JOIN_BEYOND_DRAIN_S: Final = 25.0
# All else is answered at once, or by a broker that is gone.
REQUEST_TIMEOUT_S: Final = 10.0
# How soon partitions that were added, and a topic that was deleted and made again, are noticed; default 5 min.
METADATA_MAX_AGE_MS: Final = 10_000


class ConsumingLimits(msgspec.Struct, frozen=True):
    """`max_span` bounds, per partition, how far fetching may run ahead of the low-water mark (records).

    `partition_fetch_bytes` times the number of partitions bounds the memory of the prefetch.
    """

    max_span: int = 20_000
    partition_fetch_bytes: int = 1024 * 1024


def group_client(
    settings: KafkaSettings,
    group: str,
    topics: Sequence[str],
    limits: ConsumingLimits,
    drain_limit_s: float,
    listener: ConsumerRebalanceListener,
    client_id: str | None = None,
) -> AIOKafkaConsumer:
    """A client that commits only when told to, and tells `listener` of its partitions. It has yet to be started.

    When members come or go, the group waits for `listener` to drain, for `drain_limit_s` at most.
    """
    session_timeout_ms = int(settings.kafka_session_timeout_s * 1000)
    client = kafka_consumer(
        settings,
        group_id=group,
        group_instance_id=settings.group_instance_id,
        partition_assignment_strategy=[StickyPartitionAssignor],
        session_timeout_ms=session_timeout_ms,
        heartbeat_interval_ms=session_timeout_ms // HEARTBEATS_PER_SESSION,
        rebalance_timeout_ms=int((drain_limit_s + REBALANCE_BEYOND_DRAIN_S) * 1000),
        request_timeout_ms=int(REQUEST_TIMEOUT_S * 1000),
        max_poll_interval_ms=20 * 24 * 3600 * 1000,  # a lane that is held is not polled; `watch` is our guard
        metadata_max_age_ms=METADATA_MAX_AGE_MS,
        max_partition_fetch_bytes=limits.partition_fetch_bytes,
        # Default 1.5 s: how long a broker's answer to "no such member" or a lost coordinator is slept on.
        retry_backoff_ms=100,
        **({} if client_id is None else {"client_id": client_id}),
    )
    wait_longer_for_the_group(client, drain_limit_s + JOIN_BEYOND_DRAIN_S)
    client.subscribe(topics=list(topics), listener=listener)
    return client
