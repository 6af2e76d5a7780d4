"""The in-memory twin of the ledger of promised work. For tests."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from operator import attrgetter

import msgspec

from schemas.errors import StoreUnavailable
from schemas.promises import Promise, refuse_unattainable
from stores.promises import check_promise, refuse_more_promises
from stores.protocols import JobKey


class MemoryPromises:
    """`Promises`. While `down` is true, every call raises `StoreUnavailable`."""

    def __init__(self) -> None:
        self.down = False
        self._promises: dict[JobKey, Promise] = {}

    async def ask(self, asked: Promise, rows_per_s: float | None, now: datetime) -> Promise:
        self._check_up()
        check_promise(asked)
        self._promises = {
            key: each
            for key, each in self._promises.items()
            if each.deadline > now or (each.model, each.version) != (asked.model, asked.version)
        }
        key = JobKey(asked.tenant, asked.id)
        if (known := self._promises.get(key)) is not None:
            return known
        standing = await self.standing(asked.model, asked.version, now)
        refuse_more_promises(asked, standing)
        refuse_unattainable(asked, standing, rows_per_s, now)
        self._promises[key] = asked
        return asked

    async def advance(self, ended: Mapping[JobKey, int]) -> None:
        self._check_up()
        for key, rows in ended.items():
            if (promise := self._promises.get(key)) is not None:
                self._promises[key] = msgspec.structs.replace(promise, ended=max(promise.ended, rows))

    async def take_off(self, keys: Sequence[JobKey]) -> None:
        self._check_up()
        for key in keys:
            self._promises.pop(key, None)

    async def standing(self, model: str, version: str, now: datetime) -> Sequence[Promise]:
        self._check_up()
        standing = [
            each
            for each in self._promises.values()
            if (each.model, each.version) == (model, version) and each.deadline > now
        ]
        return sorted(standing, key=attrgetter("deadline", "created_at", "tenant", "id"))

    async def asked_before(self, at: datetime, *, limit: int) -> Sequence[JobKey]:
        self._check_up()
        old = sorted((each.created_at, *key) for key, each in self._promises.items() if each.created_at < at)
        return [JobKey(tenant, promise_id) for _, tenant, promise_id in old[:limit]]

    def _check_up(self) -> None:
        if self.down:
            raise StoreUnavailable("the promises are down")
