"""The in-memory twin of the ledger of promised work. For tests."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from operator import attrgetter

import msgspec

from schemas.errors import StoreUnavailable
from schemas.promises import Promise, refuse_unattainable
from stores.promises import Seen, VersionKey, check_promise, refuse_more_promises
from stores.protocols import JobKey


class MemoryPromises:
    """`Promises`. While `down` is true, every call raises `StoreUnavailable`."""

    def __init__(self) -> None:
        self.down = False
        self._promises: dict[JobKey, Promise] = {}
        self._seen: dict[VersionKey, Seen] = {}

    async def ask(self, asked: Promise, rows_per_s: float | None, now: datetime) -> Promise:
        self._check_up()
        check_promise(asked)
        key = JobKey(asked.tenant, asked.id)
        if (known := self._promises.get(key)) is not None:
            return known
        standing = await self.standing(asked.model, asked.version)
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

    async def standing(self, model: str, version: str) -> Sequence[Promise]:
        return [each for each in await self.all_standing() if (each.model, each.version) == (model, version)]

    async def all_standing(self) -> Sequence[Promise]:
        self._check_up()
        return sorted(self._promises.values(), key=attrgetter("deadline", "created_at", "tenant", "id"))

    async def learn(self, seen: Mapping[VersionKey, Seen]) -> None:
        self._check_up()
        self._seen |= seen

    async def learned(self, versions: Collection[VersionKey]) -> Mapping[VersionKey, Seen]:
        self._check_up()
        return {each: self._seen[each] for each in versions if each in self._seen}

    def _check_up(self) -> None:
        if self.down:
            raise StoreUnavailable("the promises are down")
