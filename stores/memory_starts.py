"""The in-memory twin of the counts of starts. For tests."""

from collections import Counter
from collections.abc import Sequence

from schemas.errors import StoreUnavailable
from stores.protocols import JobKey


class MemoryStarts:
    """`Starts`. While `down` is true, every call raises `StoreUnavailable`."""

    def __init__(self) -> None:
        self.down = False
        self.counts: Counter[JobKey] = Counter()

    async def count(self, keys: Sequence[JobKey], ended: Sequence[JobKey] = ()) -> Sequence[int]:
        await self.forget(ended)
        earlier = []
        for key in keys:
            earlier.append(self.counts[key])
            self.counts[key] = max(1, self.counts[key])
        return earlier

    async def count_again(self, key: JobKey) -> int:
        self._check_up()
        self.counts[key] += 1
        return self.counts[key] - 1

    async def forget(self, keys: Sequence[JobKey]) -> None:
        self._check_up()
        for key in keys:
            self.counts.pop(key, None)

    def _check_up(self) -> None:
        if self.down:
            raise StoreUnavailable("the counts are down")
