"""What a worker tells gateways of versions that it does not serve."""

import asyncio
from pathlib import Path

import pytest

from producers.memory import MemoryLog
from runtime.settings import KafkaSettings
from schemas.errors import ConfigurationError, PayloadTooLarge, QueueUnavailable
from schemas.worker_reports import NotServed, VersionReport, decode_report
from tests.contracts.stores.building import NOW
from tests.waiting import eventually
from workers.inference.lifecycle.reporting import KafkaReporter, reason_for_clients, without_paths

REPOSITORY = Path("/srv/models")
REFUSED = {"iris/1": VersionReport(NotServed.REFUSED, "does not fit")}


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("/srv/models/iris/model.yaml: name: is missing", "iris/model.yaml: name: is missing"),
        ("/var/other/place/handler.py: has no class", "handler.py: has no class"),
        ("two\nlines   of\ttext", "two lines of text"),
        ("ratio a/b, 3 / 4, https://example.com/a/b", "ratio a/b, 3 / 4, https://example.com/a/b"),
        ("'/home/me/weights.pt' and /etc/x", "'weights.pt' and x"),
        ("file:///home/me/a.pt or at:/home/me/b.pt", "file://a.pt or at:b.pt"),
        ("x" * 501, "x" * 497 + "..."),
        ("caf\udce9.txt: cannot be read", "caf?.txt: cannot be read"),
    ],
)
def test_a_reason_is_one_line_without_the_paths_of_the_machine(said: str, told: str) -> None:
    assert without_paths(said, REPOSITORY) == told


def test_a_relative_repository_is_taken_off_as_well() -> None:
    for path in (Path("models"), Path("models").resolve()):
        assert without_paths(f"{path}/iris/1: bad", Path("models")) == "iris/1: bad"
    assert without_paths("other_models/iris: bad", Path("models")) == "other_models/iris: bad"


def test_of_a_foreign_error_only_the_class_is_told() -> None:
    assert reason_for_clients(RuntimeError("password=x"), REPOSITORY) == "RuntimeError; the worker's log has the rest"
    assert reason_for_clients(ConfigurationError("secret", told="handler.py: x"), REPOSITORY) == "handler.py: x"


async def test_it_is_told_when_it_changes_and_taken_back_in_the_end() -> None:
    log = MemoryLog()
    settings = KafkaSettings(kafka_group_instance_id="worker-7")
    reporter = KafkaReporter(settings, log, lambda: NOW)
    running = asyncio.create_task(reporter.run())

    def written() -> list[object]:
        records = log.records(settings.topics.worker_reports)
        assert {record.key for record in records} <= {b"worker-7"}
        return [None if record.value is None else decode_report(record.value).versions for record in records]

    await eventually(lambda: written() == [None], what="what an earlier life said, taken back")
    reporter.tell(REFUSED)
    await eventually(lambda: written() == [None, REFUSED], what="the report")
    reporter.tell(dict(REFUSED))
    reporter.tell({})
    await eventually(lambda: written() == [None, REFUSED, None], what="the end of it")
    log.fail_next = [QueueUnavailable("away"), PayloadTooLarge("for this broker")]
    reporter.tell(REFUSED)
    await eventually(lambda: len(log.fail_next) == 1, what="a report that is lost")
    reporter.tell({})
    await eventually(lambda: not log.fail_next, what="one that is refused")
    reporter.tell(REFUSED)
    await eventually(lambda: written()[-1] == REFUSED, what="one that is taken")
    reporter.tell({})
    await eventually(lambda: len(written()) == 5, what="the next one")
    await reporter.leave()
    assert written()[-1] is None
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_of_more_than_a_record_holds_the_first_are_told() -> None:
    settings = KafkaSettings(kafka_group_instance_id="worker-7", max_record_bytes=64 * 1024)
    log = MemoryLog(max_record_bytes=settings.max_record_bytes)
    reporter = KafkaReporter(settings, log, lambda: NOW)
    reporter.tell({f"iris/{number:04}": VersionReport(NotServed.REFUSED, "x" * 500) for number in range(1000)})
    running = asyncio.create_task(reporter.run())
    await eventually(lambda: bool(log.records(settings.topics.worker_reports)), what="the report")
    (record,) = log.records(settings.topics.worker_reports)
    assert record.value is not None
    versions = decode_report(record.value).versions
    assert "iris/0000" in versions
    assert len(versions) > 50
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
