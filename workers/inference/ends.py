"""Publishing what became of records, and only then marking them done."""

from collections.abc import Sequence
from functools import partial
from typing import Final

import msgspec

from producers.seams import Publisher
from schemas.errors import OutputInvalid, PayloadTooLarge, PenstockError
from schemas.jobs import Status, Terminal
from schemas.records import OutRecord, terminal_record
from schemas.topics import Topics
from workers.consuming.seams import Consumer, Record
from workers.inference.intake import Dead
from workers.replacements import Replacement, burial, publish_replacements

SOURCE: Final = "/penstock/worker"


class Ends:
    """A record is done when its replacement is acknowledged: the result, or the dead letter. So publishing is
    tried until it succeeds; meanwhile the record stays open, and the low-water mark stays below it."""

    def __init__(self, publisher: Publisher, topics: Topics) -> None:
        self._publisher = publisher
        self._topics = topics

    async def finish(
        self, consumer: Consumer, records: Sequence[Record], terminals: Sequence[Terminal]
    ) -> Sequence[Terminal]:
        """Publish the terminal records of `records`, in the same order, and mark those done.

        Returns the ends as they were published: a result that is too large for a record makes its job a failed one.
        """
        outs = [terminal_record(self._topics.results, terminal, SOURCE) for terminal in terminals]
        outcomes = await self._publisher.publish_all(outs)
        if not any(outcomes):
            consumer.done(records)
            return terminals
        consumer.done([record for record, why in zip(records, outcomes, strict=True) if why is None])
        ends = list(terminals)
        left = [
            Replacement(
                records[index],
                self._smaller(ends, index, why, 0.0) or outs[index],
                partial(self._smaller, ends, index),
            )
            for index, why in enumerate(outcomes)
            if why is not None
        ]
        await publish_replacements(consumer, self._publisher, left)
        return ends

    def _smaller(self, ends: list[Terminal], index: int, why: PenstockError, _tried_s: float) -> OutRecord | None:
        """What to publish in the stead of a result that is too large; None where that is not what is wrong."""
        if not isinstance(why, PayloadTooLarge):
            return None
        error = OutputInvalid("the result is larger than a record may be; ask for fewer rows or outputs")
        ends[index] = msgspec.structs.replace(ends[index], status=Status.FAILED, result=None, error=error.body())
        return terminal_record(self._topics.results, ends[index], SOURCE)

    async def bury(self, consumer: Consumer, group: str, dead: Sequence[Dead]) -> None:
        """Move records that are no jobs to their dead-letter topic, and mark them done."""
        burials = [burial(each.record, group, each.error) for each in dead]
        await publish_replacements(consumer, self._publisher, burials)
