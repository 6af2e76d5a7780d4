"""Finding dead letters, and seeing to them."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final, NamedTuple

from penstock.dlq.letter import Letter, Place
from penstock.dlq.mark import Mark, mark_record
from penstock.dlq.reading import DeadLetters, common, spans_around
from penstock.dlq.replaying import Replay, replay_of
from penstock.dlq.selection import Selection
from producers.kafka_publisher import KafkaPublisher
from producers.protocols import Publisher
from producers.topics import ensure_topics, letter_marks_topic
from runtime.clock import Clock
from runtime.settings import KafkaSettings
from schemas.errors import PenstockError, RequestError
from schemas.jobs import new_job_id

AT_ONCE: Final = 100


class Found(NamedTuple):
    """Letters without their values, oldest first, and how many more there are."""

    letters: Sequence[Letter]
    marks: Mapping[Place, Mark]
    more: int


class Seen(NamedTuple):
    """What became of a letter: the mark it now has, or why it could not be replayed."""

    letter: Letter
    outcome: Mark | PenstockError


async def find(settings: KafkaSettings, selection: Selection, limit: int | None) -> Found:
    """The letters that are meant; the oldest `limit` of them. Raises `RequestError` for a named one that is not."""
    async with DeadLetters(settings) as dead_letters:
        marks = await dead_letters.marks()
        spans = await dead_letters.spans(selection.since)
        if selection.places:
            spans = common(spans, spans_around(selection.places))
        letters = [letter.without_value() async for letter in dead_letters.read(spans) if selection.has(letter, marks)]
    missing = selection.places - {letter.place for letter in letters}
    if missing:
        raise RequestError(f"there is no such dead letter: {min(missing)}")
    letters.sort(key=lambda letter: (letter.at, letter.place))
    shown = letters[:limit]
    return Found(shown, marks, len(letters) - len(shown))


async def with_values(settings: KafkaSettings, letters: Sequence[Letter]) -> AsyncIterator[Letter]:
    """The same letters once more, with what they hold, one at a time."""
    places = {letter.place for letter in letters}
    async with DeadLetters(settings) as dead_letters:
        async for letter in dead_letters.read(spans_around(places)):
            if letter.place in places:
                yield letter


async def drop(settings: KafkaSettings, letters: Sequence[Letter], clock: Clock) -> AsyncIterator[Seen]:
    """Mark the letters as seen to."""
    await ensure_topics(settings, [letter_marks_topic(settings)])
    async with KafkaPublisher(settings) as publisher:
        for start in range(0, len(letters), AT_ONCE):
            seen = [Seen(letter, Mark("dropped", clock())) for letter in letters[start : start + AT_ONCE]]
            for each in await _mark(settings, publisher, seen):
                yield each


async def replay(settings: KafkaSettings, letters: Sequence[Letter], clock: Clock) -> AsyncIterator[Seen]:
    """Publish what the letters are replayed as, and mark those whose record Kafka has.

    Cut off between the two, a letter stays as it was although its record was written: replayed once more it makes
    another job.
    """
    await ensure_topics(settings, [letter_marks_topic(settings)])  # first: nothing is replayed that cannot be marked
    async with KafkaPublisher(settings) as publisher:
        waiting: list[Replay] = []
        async for letter in with_values(settings, letters):
            try:
                waiting.append(replay_of(letter, settings.topics, new_job_id(), clock()))
            except RequestError as error:
                yield Seen(letter.without_value(), error)
            if len(waiting) == AT_ONCE:
                for seen in await _replay(settings, publisher, waiting, clock):
                    yield seen
                waiting = []
        for seen in await _replay(settings, publisher, waiting, clock):
            yield seen


async def _replay(
    settings: KafkaSettings, publisher: Publisher, replays: Sequence[Replay], clock: Clock
) -> Sequence[Seen]:
    outcomes = await publisher.publish_all([each.out for each in replays])
    seen = [
        Seen(each.letter.without_value(), why or Mark("replayed", clock(), each.job_id))
        for each, why in zip(replays, outcomes, strict=True)
    ]
    return await _mark(settings, publisher, seen)


async def _mark(settings: KafkaSettings, publisher: Publisher, seen: Sequence[Seen]) -> Sequence[Seen]:
    topic = settings.topics.letter_marks
    marked = [(each.letter.place, each.outcome) for each in seen if isinstance(each.outcome, Mark)]
    outcomes = await publisher.publish_all([mark_record(topic, place, mark) for place, mark in marked])
    unmarked = {place for (place, _), why in zip(marked, outcomes, strict=True) if why is not None}
    return [each._replace(outcome=_not_marked(each)) if each.letter.place in unmarked else each for each in seen]


def _not_marked(seen: Seen) -> PenstockError:
    what = seen.outcome
    return RequestError(f"{what}, but this could not be marked: it is listed still")
