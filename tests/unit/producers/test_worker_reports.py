"""What workers report together, as gateways read it."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from producers import worker_reports
from producers.worker_reports import FORGOTTEN_AFTER_S, WorkerReports
from schemas.worker_reports import NotServed, VersionReport, WorkerReport, encode_report

NOW = datetime(2026, 1, 31, tzinfo=UTC)


def reports_of() -> tuple[WorkerReports, SimpleNamespace]:
    clock = SimpleNamespace(now_s=0.0)
    return WorkerReports(lambda: clock.now_s), clock


def tell(reports: WorkerReports, worker: str, *names: str, seconds: float = 0, reason: str = "torn") -> None:
    said = VersionReport(NotServed.REFUSED, reason)
    report = WorkerReport(NOW + timedelta(seconds=seconds), dict.fromkeys(names, said))
    reports.apply(worker.encode(), encode_report(report))


def test_what_is_said_of_a_version_counts_before_what_is_said_of_its_model() -> None:
    reports, _ = reports_of()
    tell(reports, "one", "iris", reason="all of it")
    tell(reports, "two", "iris/1", reason="this one")
    told = [reports.of("iris", version) for version in ("1", "2")]
    assert [said and said.reason for said in told] == ["this one", "all of it"]
    assert reports.of("other", "1") is None
    assert list(reports.models()) == ["iris"]


def test_a_worker_is_forgotten_by_itself_and_heard_again() -> None:
    reports, clock = reports_of()
    tell(reports, "one", "iris/1")
    clock.now_s = FORGOTTEN_AFTER_S / 2
    tell(reports, "two", "other/1")
    clock.now_s = FORGOTTEN_AFTER_S
    assert list(reports.models()) == ["other"]
    tell(reports, "one", "iris/1", seconds=1)
    assert sorted(reports.models()) == ["iris", "other"]


def test_a_worker_that_says_the_same_again_is_not_forgotten() -> None:
    reports, clock = reports_of()
    tell(reports, "one", "iris/1")
    assert list(reports.models()) == ["iris"]
    clock.now_s = FORGOTTEN_AFTER_S - 1
    tell(reports, "one", "iris/1", seconds=1)
    clock.now_s = FORGOTTEN_AFTER_S + 1
    assert list(reports.models()) == ["iris"]


def test_what_they_say_is_put_together_once_however_often_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    reports, _ = reports_of()
    put_together: list[object] = []
    together = worker_reports._together

    def counted(said: Iterable[WorkerReport]) -> worker_reports.Reported:
        put_together.append(said)
        return together(said)

    monkeypatch.setattr(worker_reports, "_together", counted)
    for worker in ("one", "two"):
        tell(reports, worker, "iris/1")
    for _ in range(100):
        reports.of("iris", "1")
    tell(reports, "one", "iris/1", seconds=1)  # nothing new
    reports.of("iris", "1")
    assert len(put_together) == 1
    reports.apply(b"one", None)
    reports.of("iris", "1")
    assert len(put_together) == 2
