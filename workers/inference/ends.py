"""Publishing what became of records, and only then marking them done."""

import asyncio
from collections.abc import Sequence

import msgspec

from producers.seams import Publisher
from runtime.backoff import delays_s
from runtime.logs import get_logger
from schemas.errors import OutputInvalid, PayloadTooLarge, PenstockError
from schemas.jobs import Status, Terminal
from schemas.records import OutRecord, terminal_record
from schemas.topics import Topics
from workers.consuming.seams import Consumer, Record
from workers.dead_letters import dead_letter
from workers.inference.intake import Dead

log = get_logger(__name__)

SOURCE = "/penstock/worker"


class Ends:
    """A record is done when its replacement is acknowledged: the result, or the dead letter. So publishing is
    tried until it succeeds; meanwhile the record stays open, and the low-water mark stays below it."""

    def __init__(self, publisher: Publisher, topics: Topics) -> None:
        self._publisher = publisher
        self._topics = topics

    async def finish(self, consumer: Consumer, records: Sequence[Record], terminals: Sequence[Terminal]) -> None:
        """Publish the terminal records of `records`, in the same order, and mark those done."""
        outs = [terminal_record(self._topics.results, terminal, SOURCE) for terminal in terminals]
        outcomes = await self._publisher.publish_all(outs)
        if any(outcomes):
            outs = [self._fitting(*each) for each in zip(outs, terminals, outcomes, strict=True)]
            await self._until_acknowledged([out for out, outcome in zip(outs, outcomes, strict=True) if outcome])
        consumer.done(records)

    async def bury(self, consumer: Consumer, group: str, dead: Dead) -> None:
        """Move a record that is no job to its dead-letter topic, and mark it done."""
        await self._until_acknowledged([dead_letter(dead.record, group, dead.error)])
        consumer.done([dead.record])

    def _fitting(self, out: OutRecord, terminal: Terminal, outcome: PenstockError | None) -> OutRecord:
        """The record to try again with: a result that is too large ends its job as failed."""
        if not isinstance(outcome, PayloadTooLarge):
            return out
        error = OutputInvalid("the result is larger than a record may be; ask for fewer rows or outputs")
        failed = msgspec.structs.replace(terminal, status=Status.FAILED, result=None, error=error.body())
        return terminal_record(self._topics.results, failed, SOURCE)

    async def _until_acknowledged(self, records: list[OutRecord]) -> None:
        for delay_s in delays_s():
            outcomes = await self._publisher.publish_all(records)
            records = [record for record, outcome in zip(records, outcomes, strict=True) if outcome]
            if not records:
                return
            log.warning("publishing failed, trying again", records=len(records), delay_s=delay_s)
            await asyncio.sleep(delay_s)
