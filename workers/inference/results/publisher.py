"""Publishing what became of records, and only then marking them done."""

from collections.abc import Sequence
from functools import partial
from typing import Final

import msgspec

from producers.protocols import Publisher
from schemas.errors import OutputInvalid, PayloadTooLarge, PenstockError, TopicMissing
from schemas.jobs import Status, Terminal
from schemas.records import OutRecord, terminal_record
from schemas.topics import Topics
from workers.consuming.protocols import Consumer, Record
from workers.dead_letters import dead_letter, dead_letter_without_payload
from workers.inference.decoding.record_decoder import UndecodableRecord
from workers.inference.results.outcomes import DeadLettered, Outcome, RetryLater
from workers.inference.results.retry_policy import retry_record
from workers.replacements import Replacement, burial, publish_replacements

SOURCE: Final = "/penstock/worker"
# For how long a tier's topic may be missing before its jobs end instead.
TIER_PATIENCE_S: Final = 10.0


class ResultPublisher:
    """A record is done when its replacement is acknowledged: the result, the retry, or the dead letter. So publishing
    is tried until it succeeds; meanwhile the record stays open, and the low-water mark stays below it."""

    def __init__(self, publisher: Publisher, topics: Topics) -> None:
        self._publisher = publisher
        self._topics = topics

    async def finish(self, consumer: Consumer, group: str, over: Sequence[tuple[Record, Outcome]]) -> Sequence[Outcome]:
        """Publish together what became of records, and mark them done. `group` is who has given up those parked.

        Returns what was published in the end: a result that is too large for a record makes its job a failed one, and
        a job that cannot be put aside ends.
        """
        published = [each for _, each in over]
        outs = [(index, out) for index, (record, each) in enumerate(over) for out in self._outs(record, each, group)]
        outcomes = await self._publisher.publish_all([out for _, out in outs])
        failed = [(index, out, why) for (index, out), why in zip(outs, outcomes, strict=True) if why is not None]
        still_open = {index for index, _, _ in failed}
        consumer.done([record for index, (record, _) in enumerate(over) if index not in still_open])
        if failed:
            left = []
            for index, out, why in failed:
                instead = partial(self._instead, published, index, over[index][0], group)
                left.append(Replacement(over[index][0], instead(why, 0.0) or out, instead))
            await publish_replacements(consumer, self._publisher, left)
        return published

    def _outs(self, record: Record, outcome: Outcome, group: str) -> tuple[OutRecord, ...]:
        if isinstance(outcome, Terminal):
            return (terminal_record(self._topics.results, outcome, SOURCE),)
        if isinstance(outcome, RetryLater):
            return (retry_record(self._topics.retry(outcome.tier), record, outcome.tier, outcome.error),)
        letter = dead_letter(record, group, outcome.error, deliveries=outcome.deliveries)
        return terminal_record(self._topics.results, outcome.terminal, SOURCE), letter

    def _instead(
        self, published: list[Outcome], index: int, record: Record, group: str, why: PenstockError, tried_s: float
    ) -> OutRecord | None:
        """What to publish in the stead of what can never be written; None where time may mend it."""
        each = published[index]
        tier_missing = isinstance(each, RetryLater) and isinstance(why, TopicMissing) and tried_s > TIER_PATIENCE_S
        if not (tier_missing or isinstance(why, PayloadTooLarge)):
            return None
        if isinstance(each, DeadLettered):  # its end holds no result: what is too large is the letter
            return dead_letter_without_payload(record, group, each.error, deliveries=each.deliveries)
        published[index] = end = each.terminal if isinstance(each, RetryLater) else _smaller(each)
        return terminal_record(self._topics.results, end, SOURCE)

    async def bury(self, consumer: Consumer, group: str, dead: Sequence[UndecodableRecord]) -> None:
        """Move records that are no jobs to their dead-letter topic, and mark them done."""
        burials = [burial(each.record, group, each.error) for each in dead]
        await publish_replacements(consumer, self._publisher, burials)


def _smaller(end: Terminal) -> Terminal:
    error = OutputInvalid("the result is larger than a record may be; ask for fewer rows or outputs")
    return msgspec.structs.replace(end, status=Status.FAILED, result=None, error=error.body())
