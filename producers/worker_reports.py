"""What workers tell of versions that they do not serve, as its topic tells it; and telling it."""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import msgspec

from producers.control_topic import ControlTopic
from producers.protocols import Publisher
from runtime.logs import get_logger
from runtime.settings import KafkaSettings
from schemas.records import OutRecord
from schemas.topics import Topics
from schemas.worker_reports import NotServed, VersionReport, WorkerReport, decode_report, encode_report

log = get_logger(__name__)

# A worker that has something to report says it again so often, and is forgotten once it has been silent for so long.
REFRESH_S: Final = 60.0
FORGOTTEN_AFTER_S: Final = 3 * REFRESH_S
# Of what several workers say of one version: what is to be mended first.
_BY_WEIGHT: Final = (NotServed.REFUSED, NotServed.LOADING, NotServed.UNLOADED)


class _Heard(NamedTuple):
    report: WorkerReport
    at_s: float


class WorkerReports:
    """The last report of each worker that still speaks. `clock_s` is the reader's own, whatever theirs say."""

    def __init__(self, clock_s: Callable[[], float]) -> None:
        self._clock_s = clock_s
        self._heard: dict[bytes, _Heard] = {}

    def apply(self, key: bytes, value: bytes | None) -> None:
        """Take in one record of the topic; None for a value forgets the worker."""
        if value is None:
            self._heard.pop(key, None)
            return
        try:
            report = decode_report(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            log.warning("a record is no worker's report", key=key.decode("utf-8", "replace"), error=str(error))
            return
        known = self._heard.get(key)
        if known is None or known.report != report:  # the topic may be read again from its beginning
            self._heard[key] = _Heard(report, self._clock_s())

    @property
    def versions(self) -> dict[str, VersionReport]:
        """By `<model>/<version>`, or `<model>` for all of its versions."""
        found: dict[str, VersionReport] = {}
        for report in self._current():
            for name, said in report.versions.items():
                before = found.get(name)
                if before is None or _BY_WEIGHT.index(said.state) < _BY_WEIGHT.index(before.state):
                    found[name] = said
        return found

    def of(self, model: str, version: str | None) -> VersionReport | None:
        """Of one version, or where that is None of all of a model's."""
        versions = self.versions
        return versions.get(model if version is None else f"{model}/{version}") or versions.get(model)

    def _current(self) -> Iterator[WorkerReport]:
        oldest_s = self._clock_s() - FORGOTTEN_AFTER_S
        self._heard = {key: heard for key, heard in self._heard.items() if heard.at_s > oldest_s}
        return (heard.report for heard in self._heard.values())


def worker_reports_topic(settings: KafkaSettings, reports: WorkerReports) -> ControlTopic:
    """The reader that feeds `reports`: `await reader.follow()`."""
    return ControlTopic(settings, settings.topics.worker_reports, reports.apply)


async def publish_report(publisher: Publisher, topics: Topics, worker: str, report: WorkerReport | None) -> None:
    """None takes back what the worker said. Raises what `Publisher.publish` raises."""
    value = None if report is None else encode_report(report)
    await publisher.publish(OutRecord(topics.worker_reports, worker.encode(), value, [], partition=0))
