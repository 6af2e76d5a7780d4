"""The routes as their topic tells them."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from producers.routes import REVISION, SHARE, Routes
from schemas.route_documents import TAKEN_AWAY_BY, encode_route
from schemas.routes import Route


def route(revision: int, model: str = "digits", **fields: Any) -> Route:
    given: dict[str, Any] = {"versions": {"1": 10_000}, "default": "1", "salt": "s", "updated_by": "ann"}
    updated_at = datetime(2026, 1, 1, tzinfo=UTC)
    return Route(model=model, revision=revision, updated_at=updated_at, **{**given, **fields})


def told(*news: Route) -> Routes:
    routes = Routes()
    for each in news:
        routes.apply(each.model.encode(), encode_route(each))
    return routes


def revision(routes: Routes, model: str = "digits") -> int | None:
    known = routes.of.get(model)
    return None if known is None else known.revision


def test_the_newest_revision_of_each_model_counts() -> None:
    routes = told(route(1), route(4), route(2, model="other"))
    assert routes.of == {"digits": route(4), "other": route(2, model="other")}
    assert REVISION.labels("digits")._value.get() == 4


def test_an_older_revision_than_the_one_at_hand_is_passed_over() -> None:
    routes = told(route(5), route(3), route(5, default="2", versions={"2": 10_000}))
    assert routes.of["digits"] == route(5)


def test_a_tombstone_takes_a_route_away_and_one_that_is_made_anew_counts() -> None:
    routes = told(route(5))
    routes.apply(b"digits", None)
    assert revision(routes) is None
    routes.apply(b"digits", encode_route(route(7)))
    assert revision(routes) == 7
    routes.apply(b"unknown", None)
    routes.apply(b"\xff", None)


def test_after_the_topic_was_read_again_all_is_as_it_was() -> None:
    records = [(b"digits", encode_route(route(5))), (b"digits", None), (b"digits", encode_route(route(7)))]
    routes = Routes()
    for key, value in [*records, *records]:
        routes.apply(key, value)
    assert revision(routes) == 7


def by(revision: int) -> list[tuple[str, bytes]]:
    return [(TAKEN_AWAY_BY, b"%d" % revision)]


def test_a_deletion_that_tells_its_revision_stays_when_the_topic_is_read_again() -> None:
    routes, heard = told(route(5)), list[int | None]()
    routes.take_away(b"digits", by(6))
    routes.listen(lambda _, new: heard.append(None if new is None else new.revision))
    routes.apply(b"digits", encode_route(route(5)))
    routes.take_away(b"digits", by(6))
    assert heard == [], "nobody sees the route for the moments between"
    assert (revision(routes), routes.revision("digits")) == (None, 6)


def test_an_older_revision_that_comes_late_behind_a_deletion_is_passed_over() -> None:
    routes = Routes()
    routes.take_away(b"digits", by(6))
    routes.apply(b"digits", encode_route(route(5)))
    assert revision(routes) is None
    routes.apply(b"digits", encode_route(route(7)))
    assert revision(routes) == 7


def test_a_deletion_that_comes_late_behind_a_newer_revision_is_passed_over() -> None:
    routes = told(route(7))
    routes.take_away(b"digits", by(6))
    assert revision(routes) == 7
    routes.take_away(b"digits", by(8))
    assert revision(routes) is None


@pytest.mark.parametrize("raw", [b"", b"-1", b"0", b"one", b"2147483648", b"9" * 5000, None])
def test_a_deletion_that_tells_no_revision_counts_as_it_comes(raw: bytes) -> None:
    routes = told(route(7))
    routes.take_away(b"digits", [(TAKEN_AWAY_BY, raw), ("of_a_newer_version", b"1")])
    assert (revision(routes), routes.revision("digits")) == (None, 0)
    routes.apply(b"digits", encode_route(route(7)))
    assert revision(routes) == 7, "as it is told again where the deletion came late"


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"no json",
        b"[]",
        b"\xff",
        b"{}",
        encode_route(route(9, model="other")),
        encode_route(route(9, versions={"1": 9_999})),
        encode_route(route(0)),
        encode_route(route(2**31)),
        encode_route(route(9)).replace(b'"versions":{', b'"versions":' + b"[" * 100_000),
    ],
    ids=lambda value: ascii(value[:12]),
)
def test_a_record_that_is_no_route_keeps_what_was_there_and_is_told_of_once(
    value: bytes, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    routes = told(route(5))
    routes.apply(b"digits", value)
    routes.apply(b"digits", value)
    assert routes.of == {"digits": route(5)}
    assert (capsys.readouterr().out + caplog.text).count("a record is no route") == 1


def test_shares_are_shown_with_their_labels_and_forgotten_with_the_route() -> None:
    def shown() -> dict[tuple[str, str], float]:
        return {
            (sample.labels["version"], sample.labels["variant"]): sample.value
            for metric in SHARE.collect()
            for sample in metric.samples
            if sample.labels["model"] == "shown"
        }

    split = {"versions": {"1": 9000, "2": 1000}, "labels": {"canary": "2"}}
    routes = told(route(1, model="shown", **split))
    assert shown() == {("1", ""): 0.9, ("2", "canary"): 0.1}
    routes.apply(b"shown", encode_route(route(2, model="shown", versions={"2": 10_000})))
    assert shown() == {("2", ""): 1.0}
    routes.apply(b"shown", None)
    assert shown() == {}


def test_listeners_are_told_of_changes_alone() -> None:
    routes, heard = Routes(), list[tuple[str, int | None]]()
    routes.listen(lambda model, new: heard.append((model, None if new is None else new.revision)))
    for value in (encode_route(route(1)), encode_route(route(1)), b"bad", encode_route(route(2)), None, None):
        routes.apply(b"digits", value)
    assert heard == [("digits", 1), ("digits", 2), ("digits", None)]


def test_members_of_a_newer_version_do_no_harm() -> None:
    document = {**msgspec.json.decode(encode_route(route(3))), "mirrors": [], "more": {}}
    routes = Routes()
    routes.apply(b"digits", msgspec.json.encode(document))
    assert routes.of == {"digits": route(3)}
