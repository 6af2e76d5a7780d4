"""A record is done when its replacement is acknowledged: the same job in a lane, its end, or its dead letter."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from producers.protocols import Publisher
from runtime.backoff import delays_s
from runtime.logs import get_logger
from schemas.errors import PayloadTooLarge, PenstockError
from schemas.records import OutRecord
from workers.consuming.protocols import Consumer, Record
from workers.dead_letters import dead_letter, dead_letter_without_payload

log = get_logger(__name__)

# Given why a replacement was not acknowledged and for how many seconds it has been tried: what to publish in its stead,
# all of it; nothing to try the same again.
Instead = Callable[[PenstockError, float], Sequence[OutRecord]]


class Replacement(NamedTuple):
    record: Record
    out: OutRecord
    instead: Instead


def burial(record: Record, group: str, error: PenstockError) -> Replacement:
    """The dead letter as the record's replacement; without its payload where that is too large to be kept."""

    def smaller(why: PenstockError, _: float) -> Sequence[OutRecord]:
        return (dead_letter_without_payload(record, group, error),) if isinstance(why, PayloadTooLarge) else ()

    return Replacement(record, dead_letter(record, group, error), smaller)


async def publish_replacements(consumer: Consumer, publisher: Publisher, replacements: Sequence[Replacement]) -> None:
    """Publish until each is acknowledged; a record is done when all its replacements are.

    Stops caring for records whose partition is lost: they come again elsewhere.
    """
    replacements = [each for each in replacements if consumer.owns(each.record)]
    started_s = time.monotonic()
    for delay_s in delays_s():
        outcomes = await publisher.publish_all([each.out for each in replacements])
        failed = [(each, why) for each, why in zip(replacements, outcomes, strict=True) if why is not None]
        still_open = {id(each.record) for each, _ in failed}
        consumer.done([each.record for each in replacements if id(each.record) not in still_open])
        if not failed:
            return
        log.warning("publishing failed, trying again", records=len(failed), reason=failed[0][1].message)
        await asyncio.sleep(delay_s)
        tried_s = time.monotonic() - started_s
        owned = [(each, why) for each, why in failed if consumer.owns(each.record)]
        replacements = [
            each._replace(out=out) for each, why in owned for out in each.instead(why, tried_s) or (each.out,)
        ]
