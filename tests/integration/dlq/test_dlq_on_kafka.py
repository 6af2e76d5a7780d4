"""`penstock dlq` on real Kafka."""

import asyncio
from typing import Any, NamedTuple

import msgspec
import orjson
import pytest
from click.testing import CliRunner

from penstock.cli import main
from penstock.dlq.letter import Place
from producers.kafka_publisher import KafkaPublisher
from runtime.settings import KafkaSettings
from schemas.errors import TransientFailure, Undecodable
from schemas.records import OutRecord, lane_record
from tests.integration.kafka.tail import tailing
from tests.unit.dlq.letters import JOB, fetched
from tests.waiting import eventually
from workers.dead_letters import dead_letter

GIVEN_UP = TransientFailure("the store of features is away")


class Said(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self.out.splitlines()]


async def dlq(settings: KafkaSettings, *arguments: str, typed: str = "") -> Said:
    environment = {
        "PENSTOCK_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "PENSTOCK_TOPIC_PREFIX": settings.topic_prefix,
    }
    # In a thread: the command has an event loop of its own.
    ran = await asyncio.to_thread(CliRunner(env=environment).invoke, main, ["dlq", *arguments], input=typed)
    return Said(ran.exit_code, ran.stdout, ran.stderr)


async def park(settings: KafkaSettings, publisher: KafkaPublisher, *job_ids: str) -> None:
    lane = settings.topics.lane(JOB.lane_of)
    for job_id in job_ids:
        record = fetched(lane_record(lane, msgspec.structs.replace(JOB, id=job_id), "/test"))
        await publisher.publish(dead_letter(record, "the-group", GIVEN_UP, deliveries=4))


async def bury(settings: KafkaSettings, publisher: KafkaPublisher, value: bytes) -> None:
    record = fetched(OutRecord(settings.topics.requests, b"k", value, [("note", b"1")]))
    await publisher.publish(dead_letter(record, settings.topics.router_group, Undecodable("there is no model name")))


async def listed(settings: KafkaSettings, *filters: str) -> list[str | None]:
    """Job ids of the letters listed."""
    said = await dlq(settings, "list", "--json", *filters)
    assert said.status == 0, said.err
    return [each["job_id"] for each in said.objects]


async def test_letters_are_listed_by_filter(settings: KafkaSettings, publisher: KafkaPublisher) -> None:
    await park(settings, publisher, "job_1", "job_2", "job_3")
    await bury(settings, publisher, b"hello")

    said = await dlq(settings, "list")
    assert said.status == 0, said.err
    assert said.out.startswith("ID ")
    assert len(said.out.splitlines()) == 5
    assert "the store of features is away" in said.out

    assert await listed(settings, "--model", "digits") == ["job_1", "job_2", "job_3"]
    assert await listed(settings, "--error", "no model", "--since", "1h") == [f"{settings.topics.requests}-1-7"]
    assert await listed(settings, "--topic", "*.lane.*", "--limit", "2") == ["job_1", "job_2"]
    assert await listed(settings, "--until", "1h") == []


async def test_a_letter_is_shown_whole(settings: KafkaSettings, publisher: KafkaPublisher) -> None:
    await park(settings, publisher, "job_1", "job_2")
    place = Place(settings.topics.dead_letter(settings.topics.lane(JOB.lane_of)), 0, 1)

    said = await dlq(settings, "show", str(place))
    assert said.status == 0, said.err
    assert "job         job_2" in said.out
    assert '"inputs": []' in said.out

    for wrong in (place._replace(offset=99), Place("dlq.nowhere", 0, 0)):
        said = await dlq(settings, "show", str(wrong))
        assert (said.status, said.out) == (1, "")
        assert said.err == f"Error: there is no such dead letter: {wrong}\n"


async def test_a_parked_job_is_replayed_as_a_new_one_and_hidden_from_then_on(
    settings: KafkaSettings, publisher: KafkaPublisher
) -> None:
    await park(settings, publisher, "job_1", "job_2")
    said = await dlq(settings, "replay", "--job", "job_1")
    assert said.status == 0, said.err
    new_id = said.out.split(" -> ")[1].strip()
    assert "job_1 -> job_" in said.out

    async with tailing(settings, [settings.topics.requests]) as tail:
        (request,) = await eventually(lambda: tail.seen)
    assert request.headers["ce_id"].decode() == new_id
    assert request.headers["ce_replayof"] == b"job_1"
    assert await listed(settings) == ["job_2"]
    first, _ = (await dlq(settings, "list", "--json", "--all")).objects
    assert (first["state"], first["new_job_id"]) == ("replayed", new_id)


async def test_what_was_no_message_goes_back_to_its_topic(settings: KafkaSettings, publisher: KafkaPublisher) -> None:
    await bury(settings, publisher, b"hello")
    said = await dlq(settings, "replay")
    assert said.status == 0, said.err
    assert said.out.endswith(f": replayed to {settings.topics.requests}\n")
    async with tailing(settings, [settings.topics.requests]) as tail:
        (back,) = await eventually(lambda: tail.seen)
    assert (back.key, back.value, back.headers) == (b"k", b"hello", {"note": b"1"})
    assert await listed(settings) == []


async def test_dropped_letters_are_hidden_and_nothing_is_sent(
    settings: KafkaSettings, publisher: KafkaPublisher
) -> None:
    await park(settings, publisher, "job_1", "job_2")
    said = await dlq(settings, "drop", "--job", "job_2", "--json")
    assert [each["state"] for each in said.objects] == ["dropped"]
    assert await listed(settings) == ["job_1"]
    assert await listed(settings, "--all") == ["job_1", "job_2"]


@pytest.mark.parametrize(("typed", "left"), [("n\n", 12), ("y\n", 0)])
async def test_before_many_are_dropped_somebody_is_asked(
    settings: KafkaSettings, publisher: KafkaPublisher, typed: str, left: int
) -> None:
    await park(settings, publisher, *(f"job_{number}" for number in range(12)))
    said = await dlq(settings, "drop", typed=typed)
    assert "drop 12 dead letters?" in said.err
    assert said.status == (1 if left else 0)
    assert len(await listed(settings)) == left


async def test_many_are_replayed_without_a_question_where_told_to(
    settings: KafkaSettings, publisher: KafkaPublisher
) -> None:
    await park(settings, publisher, *(f"job_{number}" for number in range(150)))
    said = await dlq(settings, "replay", "--yes", "--limit", "120")
    assert said.status == 0, said.err
    assert len({line.split(" -> ")[1] for line in said.out.splitlines()}) == 120
    assert len(await listed(settings, "--limit", "1000")) == 30


async def test_what_cannot_be_done_is_said_in_a_line(settings: KafkaSettings) -> None:
    assert await dlq(settings, "list") == (0, "", "no dead letters\n")
    assert await dlq(settings, "drop") == (1, "", "Error: no dead letter is meant by that\n")
    nowhere = settings.model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:1"})
    assert await dlq(nowhere, "list") == (
        1,
        "",
        "Error: Kafka cannot be reached at 127.0.0.1:1; it is what PENSTOCK_KAFKA_BOOTSTRAP_SERVERS names\n",
    )
    for arguments in (["list", "--since", "soon"], ["show", "x"]):
        said = await dlq(settings, *arguments)
        assert said.status == 2
        assert said.err.splitlines()[-1].startswith("Error: Invalid value")
