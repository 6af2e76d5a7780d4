"""How large the steps of a purge are, by what they took; Postgres is made up, and so is time."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from stores.postgres.places import REST
from stores.postgres.purging import by_walk
from stores.postgres.purging.rule import LONG_STEP_S

if TYPE_CHECKING:
    from stores.postgres.calls import Connection

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Postgres:
    """A table of `pages` in which nothing is due; looking at one takes `page_s`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, pages: int, page_s: float) -> None:
        self.now_s = 0.0
        self.looked_at: list[int] = []
        self._pages = pages
        self._page_s = page_s
        monkeypatch.setattr(by_walk, "time", SimpleNamespace(monotonic=lambda: self.now_s))

    async def fetchval(self, *_: object) -> int:
        return self._pages

    async def execute(self, _: str, first: tuple[int, int], behind: tuple[int, int], __: datetime) -> str:
        self.looked_at.append(behind[0] - first[0])
        self.now_s += self.looked_at[-1] * self._page_s
        return "DELETE 0"


async def test_a_walk_takes_as_much_at_once_however_long_its_caller_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    postgres = Postgres(monkeypatch, pages=5000, page_s=1e-6)
    async for _ in by_walk.walk(cast("Connection", postgres), REST, "jobs", NOON):
        postgres.now_s += 10.0
    assert max(postgres.looked_at) == by_walk._MOST_PAGES
    assert sum(postgres.looked_at) >= 5000


async def test_a_walk_takes_little_at_once_where_that_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    postgres = Postgres(monkeypatch, pages=1000, page_s=LONG_STEP_S)
    sizes = [rows async for rows in by_walk.walk(cast("Connection", postgres), REST, "jobs", NOON)]
    assert sum(sizes) == 0
    assert postgres.looked_at[-1] == 1
