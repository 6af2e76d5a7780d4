"""Workers that share a lane, while members come and go and the broker is away."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from penstock.embedded.elsewhere import Service
from penstock.embedded.stack import EmbeddedStack
from penstock.errors import StackError
from tests.integration.worker.lever import pull
from tests.integration.worker.process import worker_process
from tests.integration.worker.site import Site, job, open_site
from tests.services import unavailable
from tests.waiting import eventually


@pytest.fixture
async def own_kafka() -> AsyncIterator[EmbeddedStack]:
    """A broker that the test may break."""
    stack = EmbeddedStack(None, services=frozenset([Service.KAFKA]))
    try:
        await stack.__aenter__()
    except StackError as error:
        unavailable(str(error))
    try:
        yield stack
    finally:
        await stack.__aexit__(None, None, None)


class Stream:
    """Jobs that keep coming until the block is left."""

    def __init__(self, site: Site, spins: int, a_second: int) -> None:
        self.ids: list[str] = []
        self._site = site
        self._spins = spins
        self._interval_s = 1 / a_second
        self._enough = asyncio.Event()

    async def __aenter__(self) -> "Stream":
        self._flowing = asyncio.create_task(self._flow())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._enough.set()
        await self._flowing

    async def _flow(self) -> None:
        number = 0
        while not self._enough.is_set():
            number += 1
            flowing = job(pull(float(number), spins=self._spins))
            # As a gateway does: what Kafka has acknowledged is accepted, and only that.
            if (await self._site.publisher.publish_all([self._site.record(flowing)])) == [None]:
                self.ids.append(flowing.id)
            try:
                async with asyncio.timeout(self._interval_s):
                    await self._enough.wait()
            except TimeoutError:
                continue

    async def more(self, count: int) -> None:
        """Wait until so many more jobs have ended."""
        await self._site.some_ended(len(self._site.heard) + count)


async def test_members_come_and_go_in_the_middle_of_a_stream_and_no_job_ends_twice(
    site: Site, quarter_second: int
) -> None:
    async with worker_process(site.environment, log_level="debug") as first:
        await first.ready()
        async with Stream(site, spins=quarter_second // 12, a_second=40) as stream:
            await stream.more(20)
            async with worker_process(site.environment) as second:
                await second.ready()
                await stream.more(40)
                second.terminate()
                assert await second.ended() == 0
            await stream.more(20)
        await site.all_ended(stream.ids)
        assert len(first.said("partitions revoked")) >= 2  # once for the one that came, once for the one that went
    assert site.outcomes() == {"succeeded": len(stream.ids)}
    assert site.repeats() == 0


async def test_a_broker_that_is_killed_under_load_costs_no_job(
    own_kafka: EmbeddedStack, environment: dict[str, str], quarter_second: int
) -> None:
    environment = {**environment, "kafka_bootstrap_servers": own_kafka.kafka_bootstrap_servers}
    async with open_site(environment) as site, worker_process(environment) as worker:
        await worker.ready()
        async with Stream(site, spins=quarter_second // 12, a_second=40) as stream:
            await stream.more(20)
            own_kafka.kafka.kill()
            await own_kafka.kafka.wait()
            await own_kafka.kafka.start()
            await stream.more(40)
        await site.all_ended(stream.ids, timeout_s=90)
        await worker.ready()
        worker.terminate()
        assert await worker.ended() == 0


async def test_a_worker_waits_for_a_broker_that_is_not_there_yet_and_says_so(
    own_kafka: EmbeddedStack, environment: dict[str, str]
) -> None:
    address = own_kafka.kafka_bootstrap_servers
    await own_kafka.kafka.stop()
    async with worker_process(environment, kafka_bootstrap_servers=address) as worker:
        await eventually(lambda: worker.said("waiting for a part"), 30)
        assert await worker.reason() == f"waiting for Kafka at {address}"

        await own_kafka.kafka.start()

        await worker.ready()
        async with open_site({**environment, "kafka_bootstrap_servers": address}) as site:
            ids = await site.submit(job())
            await site.all_ended(ids)


async def test_a_worker_can_be_stopped_while_its_broker_is_away(
    own_kafka: EmbeddedStack, environment: dict[str, str]
) -> None:
    async with worker_process(environment, kafka_bootstrap_servers=own_kafka.kafka_bootstrap_servers) as worker:
        await worker.ready()
        own_kafka.kafka.kill()
        await own_kafka.kafka.wait()
        worker.terminate()
        assert await worker.ended(timeout_s=20) == 0
