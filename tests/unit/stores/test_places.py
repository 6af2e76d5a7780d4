"""Which table a job lies in, and who may say so."""

from datetime import UTC, datetime
from typing import Any, cast

import pytest

from schemas.errors import StoreUnavailable
from stores.postgres.calls import Postgres
from stores.postgres.places import DAY_MS, KNOWN_FOR_S, REST, SLOTS, Places, place_of

BEGAN_MS = 20_000 * DAY_MS + 5
SINCE_ALWAYS = float("-inf")


class Database:
    """Says when the ring began."""

    def __init__(self, began: datetime | None) -> None:
        self.began = began

    async def fetch(self, _: str) -> list[dict[str, Any]]:
        return [{"began": self.began}]


def dated(made_ms: int) -> str:
    return f"job_{made_ms:012x}{'0' * 20}"


@pytest.mark.parametrize("made_ms", [0, 1, DAY_MS - 1, DAY_MS, 20_000 * DAY_MS, 2**48 - 1])
def test_an_id_that_tells_a_day_has_a_slot(made_ms: int) -> None:
    assert place_of(dated(made_ms), SINCE_ALWAYS) == made_ms // DAY_MS % SLOTS


@pytest.mark.parametrize("job_id", ["requests-0-1", "job_g", dated(1)[:-1], f"{dated(1)}0", dated(10).upper(), "job_"])
def test_any_other_has_none(job_id: str) -> None:
    assert place_of(job_id, SINCE_ALWAYS) == REST


def test_nor_has_one_from_before_the_ring_began() -> None:
    assert [place_of(dated(BEGAN_MS + after), BEGAN_MS) for after in (-1, 0)] == [REST, BEGAN_MS // DAY_MS % SLOTS]


async def test_who_has_not_asked_for_too_long_does_not_say() -> None:
    now_s = 5.0
    async with Places(cast("Postgres", Database(None)), lambda: now_s) as places:
        now_s += KNOWN_FOR_S
        assert places.of(dated(BEGAN_MS)) == REST
        now_s += 1
        with pytest.raises(StoreUnavailable):
            places.of(dated(BEGAN_MS))


async def test_once_it_has_begun_that_holds_for_ever() -> None:
    now_s = 5.0
    began = datetime.fromtimestamp(20_000 * 86_400, UTC)
    async with Places(cast("Postgres", Database(began)), lambda: now_s) as places:
        now_s += 10 * KNOWN_FOR_S
        assert places.of(dated(BEGAN_MS)) == BEGAN_MS // DAY_MS % SLOTS
