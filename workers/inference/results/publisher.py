"""Publishing what became of records, and only then marking them done."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import msgspec

from producers.protocols import Publisher
from schemas.errors import OutputInvalid, PayloadTooLarge, PenstockError, TopicMissing
from schemas.jobs import Status, Terminal
from schemas.records import OutRecord, is_copy, terminal_record
from schemas.routes import Choice
from schemas.topics import Topics
from workers.consuming.protocols import Consumer, Record
from workers.dead_letters import dead_letter, dead_letter_without_payload
from workers.inference.decoding.record_decoder import UndecodableRecord
from workers.inference.results.outcomes import CopyEnd, DeadLettered, Moved, Outcome, PutAside, RetryLater
from workers.inference.results.retry_policy import retry_record
from workers.moves import moved_record
from workers.replacements import Replacement, burial, publish_replacements

SOURCE: Final = "/penstock/worker"
# For how long the topic of a tier, or of another version's lane, may be missing before the jobs for it end instead.
PATIENCE_S: Final = 10.0

# The version that runs a job in the stead of this end, of the job in the record, if one does.
Rescue = Callable[[Record, Terminal], Choice | None]


def nobody_rescues(_: Record, __: Terminal) -> None:
    """Every end is one."""


class ResultPublisher:
    """A record is done when its replacement is acknowledged: the result, the dead letter, or the job itself, in another
    topic. So publishing is tried until it succeeds; meanwhile the record stays open, and the low-water mark stays below
    it. That of a copy has none, and just goes."""

    def __init__(self, publisher: Publisher, topics: Topics, rescue: Rescue = nobody_rescues) -> None:
        self._publisher = publisher
        self._topics = topics
        self._rescue = rescue

    async def finish(self, consumer: Consumer, group: str, over: Sequence[tuple[Record, Outcome]]) -> Sequence[Outcome]:
        """Publish together what became of records, and mark them done. `group` is who has given up those parked.

        Returns what was published in the end: a job that its version has failed may go to another one, a result that
        is too large for a record makes its job a failed one, and a job that cannot be put aside ends.
        """
        published = [self._rescued(record, each) for record, each in over]
        outs = [
            (index, out)
            for index, (record, _) in enumerate(over)
            for out in self._outs(record, published[index], group)
        ]
        outcomes = await self._publisher.publish_all([out for _, out in outs])
        failed = [(index, out, why) for (index, out), why in zip(outs, outcomes, strict=True) if why is not None]
        still_open = {index for index, _, _ in failed}
        consumer.done([record for index, (record, _) in enumerate(over) if index not in still_open])
        if failed:
            left = []
            for index, out, why in failed:
                instead = partial(self._instead, published, index, over[index][0], group)
                left += [Replacement(over[index][0], each, instead) for each in instead(why, 0.0) or (out,)]
            await publish_replacements(consumer, self._publisher, left)
        return published

    def _rescued(self, record: Record, outcome: Outcome) -> Outcome:
        if not isinstance(outcome, Terminal | DeadLettered):
            return outcome
        end = outcome.terminal if isinstance(outcome, DeadLettered) else outcome
        to = None if end.error is None else self._rescue(record, end)
        return outcome if to is None else Moved(to, outcome, rescued=True)

    def _outs(self, record: Record, outcome: Outcome, group: str) -> tuple[OutRecord, ...]:
        if isinstance(outcome, Terminal):
            return (terminal_record(self._topics.results, outcome, SOURCE),)
        if isinstance(outcome, RetryLater):
            return (retry_record(self._topics.retry(outcome.tier), record, outcome.tier, outcome.error),)
        if isinstance(outcome, CopyEnd):
            return ()
        if isinstance(outcome, Moved):
            return (moved_record(self._topics, record, outcome.terminal, outcome.to),)
        if isinstance(outcome, PutAside):
            headers = list(record.headers)
            return (OutRecord(self._topics.held, record.key, record.value, headers, partition=0, grown=True),)
        letter = dead_letter(record, group, outcome.error, deliveries=outcome.deliveries)
        return terminal_record(self._topics.results, outcome.terminal, SOURCE), letter

    def _instead(
        self, published: list[Outcome], index: int, record: Record, group: str, why: PenstockError, tried_s: float
    ) -> Sequence[OutRecord]:
        """What to publish in the stead of what can never be written; nothing where time may mend it."""
        each = published[index]
        put_elsewhere = isinstance(each, RetryLater | Moved)
        no_topic = put_elsewhere and isinstance(why, TopicMissing) and tried_s > PATIENCE_S
        if not (no_topic or isinstance(why, PayloadTooLarge)):
            return ()
        if isinstance(each, DeadLettered):  # its end holds no result: what is too large is the letter
            return (dead_letter_without_payload(record, group, each.error, deliveries=each.deliveries),)
        if isinstance(each, CopyEnd):  # which publishes nothing
            return ()
        if isinstance(each, PutAside):
            published[index] = each.terminal
        elif isinstance(each, Moved):
            published[index] = _not_moved(each, why)
        else:
            end = each.terminal if isinstance(each, RetryLater) else _smaller(each)
            published[index] = self._rescued(record, end)
        return self._outs(record, published[index], group)

    async def bury(self, consumer: Consumer, group: str, dead: Sequence[UndecodableRecord]) -> None:
        """Move records that are no jobs to their dead-letter topic, and mark them done. Copies just go."""
        consumer.done([each.record for each in dead if is_copy(each.record.headers)])
        burials = [burial(each.record, group, each.error) for each in dead if not is_copy(each.record.headers)]
        await publish_replacements(consumer, self._publisher, burials)


def _not_moved(job: Moved, why: PenstockError) -> Terminal | DeadLettered:
    if job.rescued or isinstance(why, TopicMissing):
        return job.instead
    error = PayloadTooLarge(f"version {job.terminal.version} was taken back, and for the other the job is too large")
    return msgspec.structs.replace(job.terminal, error=error.body())


def _smaller(end: Terminal) -> Terminal:
    error = OutputInvalid("the result is larger than a record may be; ask for fewer rows or outputs")
    return msgspec.structs.replace(end, status=Status.FAILED, result=None, error=error.body())
