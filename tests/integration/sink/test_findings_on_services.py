"""What shadows were found to answer, from Kafka into Postgres: once, whatever comes twice."""

from datetime import timedelta

from runtime.clock import now_utc
from schemas.records import OutRecord
from schemas.shadows import Disagreement, Pair, ShadowHour, ShadowSums, encode_finding
from stores.postgres.shadows import PostgresShadows
from stores.shadows import ShadowAsked
from tests.integration.joined import joined
from tests.integration.kafka.reading import committed
from tests.integration.sink.conftest import Site
from tests.waiting import eventually
from workers.sink.main import SinkRole

PAIR = Pair(tenant="acme", model="digits", version="2", shadow_of="1")
ASKED = ShadowAsked("acme", "digits")


async def test_findings_are_kept_once_and_what_is_none_is_passed_over(site: Site, migrated_postgres_dsn: str) -> None:
    topics, now = site.settings.topics, now_utc()
    hour = now.replace(minute=0, second=0, microsecond=0)
    found = [
        ShadowHour(pair=PAIR, worker="w-1", hour=hour, sums=ShadowSums(agreed=number, dropped={"lag": 1}))
        for number in (1, 2, 3)
    ]
    told = [Disagreement(pair=PAIR, job=f"job_{number % 2}", at=now, why="label") for number in range(4)]
    values = [*map(encode_finding, found), b"none", *map(encode_finding, told), encode_finding(found[0])]
    async with joined(site.settings, SinkRole(site.settings)), PostgresShadows(migrated_postgres_dsn) as shadows:
        outs = [OutRecord(topics.shadows, b"w-1", value, []) for value in values]
        assert not any(await site.publisher.publish_all(outs))

        async def is_done() -> bool:
            return sum((await committed(site.settings, topics.shadows_group, topics.shadows, [0])).values()) == len(
                values
            )

        await eventually(is_done, 30, "all findings are done with")
        (sums,) = await shadows.sums(ASKED, now - timedelta(hours=1))
        assert sums.sums == ShadowSums(agreed=3, dropped={"lag": 1})
        listed = await shadows.disagreements(ASKED, after=None, limit=10)
        assert [each.job for each in listed] == ["job_1", "job_0"]
