"""What workers tell of versions that they do not serve, as its topic tells it; and telling it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

import msgspec

from producers.control_topic import ControlTopic
from producers.left_lately import LeftLately
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


# By model, and by version; None for all versions of the model.
Reported = dict[str, dict[str | None, VersionReport]]


class WorkerReports:
    """The last report of each worker that still speaks. `clock_s` is the reader's own, whatever theirs say.

    What they say together is put together once, and anew after one of them has said something else or fell silent:
    clients ask for it with each job that waits.
    """

    def __init__(self, clock_s: Callable[[], float]) -> None:
        self._clock_s = clock_s
        self._heard: dict[bytes, _Heard] = {}
        self.unsaid_lately = LeftLately(clock_s, self._said_of)
        self._together: Reported = {}
        self._until_s = float("-inf")  # what was put together holds

    def apply(self, key: bytes, value: bytes | None) -> None:
        """Take in one record of the topic; None for a value forgets the worker."""
        if value is None:
            gone = self._heard.pop(key, None)
            if gone is not None:
                self._until_s = float("-inf")
                self.unsaid_lately.leave(gone.report.versions)
            return
        try:
            report = decode_report(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            log.warning("a record is no worker's report", key=key.decode("utf-8", "replace"), error=str(error))
            return
        known = self._heard.get(key)
        if known is None or known.report != report:  # the topic may be read again from its beginning
            self._heard[key] = _Heard(report, self._clock_s())
            if known is None or known.report.versions != report.versions:
                self._until_s = float("-inf")
                self.unsaid_lately.leave(known.report.versions.keys() - report.versions.keys() if known else ())

    def left(self) -> list[tuple[str, str]]:
        """Versions of which a worker took back, within the last `LEFT_FOR_S` seconds, what it had said: as one does
        that starts again. Others may still speak of them."""
        named = (name.partition("/") for name in self.unsaid_lately.names())
        return [(model, version) for model, _, version in named if version]

    def _said_of(self) -> Iterator[str]:
        return (name for heard in self._heard.values() for name in heard.report.versions)

    def models(self) -> Iterable[str]:
        """The models that workers say something of."""
        return self._current().keys()

    def of_model(self, model: str) -> Mapping[str | None, VersionReport]:
        """What they say of its versions, and under None of all of them."""
        return self._current().get(model, {})

    def of(self, model: str, version: str) -> VersionReport | None:
        """Of one version: what is said of it, or else of all of its model's."""
        versions = self.of_model(model)
        return versions.get(version) or versions.get(None)

    def _current(self) -> Reported:
        now_s = self._clock_s()
        if now_s >= self._until_s:
            self._heard = {key: heard for key, heard in self._heard.items() if now_s - heard.at_s < FORGOTTEN_AFTER_S}
            self._together = _together(heard.report for heard in self._heard.values())
            heard_s = (heard.at_s for heard in self._heard.values())
            self._until_s = min(heard_s, default=float("inf")) + FORGOTTEN_AFTER_S
        return self._together


def _together(reports: Iterable[WorkerReport]) -> Reported:
    found: Reported = {}
    for report in reports:
        for name, said in report.versions.items():
            model, _, version = name.partition("/")
            versions = found.setdefault(model, {})
            before = versions.get(version or None)
            if before is None or _BY_WEIGHT.index(said.state) < _BY_WEIGHT.index(before.state):
                versions[version or None] = said
    return found


def worker_reports_topic(settings: KafkaSettings, reports: WorkerReports) -> ControlTopic:
    """The reader that feeds `reports`: `await reader.follow()`."""
    return ControlTopic(settings, settings.topics.worker_reports, reports.apply, reading=reports.unsaid_lately)


async def publish_report(publisher: Publisher, topics: Topics, worker: str, report: WorkerReport | None) -> None:
    """None takes back what the worker said. Raises what `Publisher.publish` raises."""
    value = None if report is None else encode_report(report)
    await publisher.publish(OutRecord(topics.worker_reports, worker.encode(), value, [], partition=0))
