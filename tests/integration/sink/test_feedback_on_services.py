"""Feedback on real Kafka and Postgres: kept by the sink, once, and dead letters for the rest."""

from datetime import UTC, datetime, timedelta

from schemas.feedback import FeedbackRequest
from schemas.records import OutRecord
from stores.feedback import OutcomeSums
from stores.postgres.feedback import PostgresFeedback
from tests.integration.kafka.tail import tailing
from tests.integration.sink.conftest import Site
from tests.integration.sink.test_sink_on_services import is_succeeded, publish, sinking, succeeded
from tests.unit.sink.feedback_records import feedback_record
from tests.waiting import eventually

DAY = timedelta(days=1)


def told(site: Site, job_id: str, reward: float) -> OutRecord:
    topic = site.settings.topics.feedback
    return feedback_record(topic, job_id, FeedbackRequest(reward=reward), datetime.now(UTC), "/test")


async def test_feedback_is_kept_once_also_where_it_comes_before_the_end_and_the_rest_is_buried(site: Site) -> None:
    topic = site.settings.topics.feedback
    dsn = site.settings.postgres_dsn.get_secret_value()

    async def summed() -> OutcomeSums | None:
        now = datetime.now(UTC)
        found = await store.summed("digits", ["2"], "live", now - DAY, now + DAY, 0.5)
        return found[0] if found else None

    async def is_told_of(jobs: int, bad: int) -> bool:
        found = await summed()
        return found is not None and (found.jobs, found.bad) == (jobs, bad)

    async with (
        sinking(site),
        PostgresFeedback(dsn) as store,
        tailing(site.settings, [site.settings.topics.dead_letter(topic)]) as letters,
    ):
        await publish(site, succeeded("a"), succeeded("b"))
        await eventually(lambda: is_succeeded(site, "a", "b"))
        early, bad = told(site, "c", 1.0), OutRecord(topic, b"k", b'{"reward":7}', [])
        records = [told(site, "a", 1.0), told(site, "a", 0.0), told(site, "b", 1.0), early, bad]
        assert not any(await site.publisher.publish_all(records))
        await eventually(lambda: is_told_of(2, 1))
        await publish(site, succeeded("c"))
        await eventually(lambda: is_told_of(3, 1))
        await eventually(lambda: [letter.value for letter in letters.seen] == [b'{"reward":7}'])
