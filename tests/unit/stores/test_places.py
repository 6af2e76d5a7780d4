"""A job's place is a pure function of its id and of when the ring began."""

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, cast

import pytest

from schemas.errors import StoreUnavailable
from schemas.jobs import new_job_id
from stores.postgres.places import KNOWN_FOR_S, REST, SLOTS, Places, in_each_place, place_of
from stores.postgres.purging.rule import Stride
from stores.postgres.purging.slots import LONGEST, days_over
from stores.protocols import JobKey
from tests.contracts.stores.building import NOW, id_of

if TYPE_CHECKING:
    from stores.postgres.calls import Postgres

FROM_THE_START = -math.inf
MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC)


def slot_at(moment: datetime) -> int:
    return place_of(id_of(moment), FROM_THE_START)


def test_the_jobs_of_a_day_lie_together_and_each_of_32_days_in_another_slot() -> None:
    assert slot_at(MIDNIGHT) == slot_at(MIDNIGHT + timedelta(days=1, microseconds=-1000))
    assert {slot_at(MIDNIGHT + timedelta(days=day)) for day in range(SLOTS)} == set(range(SLOTS))
    assert slot_at(MIDNIGHT) == slot_at(MIDNIGHT + timedelta(days=SLOTS))


@pytest.mark.parametrize(
    "job_id",
    ["requests-0-17", "event_" + "0" * 40, "job_x", id_of(NOW).upper(), id_of(NOW) + "0"],
    ids=["offset", "digest", "short", "capitals", "long"],  # the values differ in each process that runs tests
)
def test_ids_that_tell_no_time_have_no_slot(job_id: str) -> None:
    assert place_of(job_id, FROM_THE_START) == REST


def test_jobs_from_before_the_ring_began_have_no_slot() -> None:
    began_ms = MIDNIGHT.timestamp() * 1000
    assert place_of(id_of(MIDNIGHT - timedelta(milliseconds=1)), began_ms) == REST
    assert place_of(id_of(MIDNIGHT), began_ms) == slot_at(MIDNIGHT)
    assert place_of(new_job_id(), math.inf) == REST


class Told:
    """A database that says when the ring began."""

    def __init__(self, began: datetime | None) -> None:
        self._rows = [{"began": began}]

    async def fetch(self, _: str) -> list[dict[str, datetime | None]]:
        return self._rows


async def test_who_has_not_asked_for_too_long_does_not_say() -> None:
    now_s = 5.0
    async with Places(cast("Postgres", Told(None)), lambda: now_s) as places:
        now_s += KNOWN_FOR_S
        assert places.of(id_of(MIDNIGHT)) == REST
        now_s += 1
        with pytest.raises(StoreUnavailable):
            places.of(id_of(MIDNIGHT))


async def test_once_it_has_begun_that_holds_for_ever() -> None:
    now_s = 5.0
    async with Places(cast("Postgres", Told(MIDNIGHT)), lambda: now_s) as places:
        now_s += 10 * KNOWN_FOR_S
        assert places.of(id_of(MIDNIGHT)) == slot_at(MIDNIGHT)


@pytest.mark.parametrize("began", [datetime.min, MIDNIGHT, MIDNIGHT + timedelta(hours=12)])  # noqa: DTZ901 - as asyncpg
@pytest.mark.parametrize(
    "ids",
    [
        [],
        [id_of(MIDNIGHT)],
        [id_of(MIDNIGHT + timedelta(hours=hour)) for hour in (5, 3, 4)],
        [id_of(MIDNIGHT + timedelta(hours=hour)) for hour in (13, 1, 23, 24, 12)],
        [id_of(MIDNIGHT + timedelta(days=day)) for day in (0, 1, 32)],
        [id_of(MIDNIGHT), "requests-0-17", id_of(MIDNIGHT), ""],
        [id_of(MIDNIGHT), id_of(MIDNIGHT) + id_of(MIDNIGHT)],
        [id_of(MIDNIGHT), id_of(MIDNIGHT)],
    ],
    ids=["none", "one", "of a day", "around midnight", "of a slot", "some undated", "too long", "of one moment"],
)
async def test_a_group_is_parted_as_each_of_its_jobs_is_placed(ids: list[str], began: datetime) -> None:
    async with Places(cast("Postgres", Told(began))) as places:
        keys = [JobKey("default", each) for each in ids]
        parted = places.grouped(keys)
        assert [place for place, _ in parted] == sorted({places.of(each) for each in ids})
        for place, some in parted:
            assert some == [key for key in keys if places.of(key.id) == place]


def test_a_statement_names_the_one_table_that_it_asks() -> None:
    insert, select = in_each_place("insert into {jobs} as j"), in_each_place("select from {jobs} j")
    assert (insert[7], select[7]) == ("insert into jobs_07 as j", "select from jobs_07 j")
    assert (insert[REST], select[REST]) == ("insert into jobs as j", "select from only jobs j")


@pytest.mark.parametrize("hour", [0, 1, 12, 23])
@pytest.mark.parametrize("retention", [timedelta(minutes=1), timedelta(days=7), LONGEST])
def test_a_day_is_given_back_once_it_was_kept_and_nobody_writes_to_it(hour: int, retention: timedelta) -> None:
    now = MIDNIGHT + timedelta(hours=hour, minutes=30)
    over = [day % SLOTS for day in days_over(now, retention)]
    assert len(over) == len(set(over)) > 0
    written = {slot_at(now + timedelta(hours=hours)) for hours in (-1, 0, 1, 24)}
    assert written.isdisjoint(over)
    kept = {slot_at(now - retention + timedelta(hours=hours)) for hours in (0, 1, 24)}
    assert kept.isdisjoint(over)
    assert over[-1] == slot_at(now - max(retention, timedelta(hours=1)) - timedelta(days=1)), "the youngest last"


def test_a_step_takes_on_what_a_short_statement_does() -> None:
    stride = Stride(64, largest=100)
    stride.took(0.2)
    assert stride.size == 32
    stride.took(0.003)
    assert stride.size == 32
    for _ in range(5):
        stride.took(0.001)
    assert stride.size == 100
    for _ in range(10):
        stride.took(1.0)
    assert stride.size == 1
