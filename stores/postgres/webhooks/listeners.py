"""How many are told of a job: where many endpoints listen, fewer jobs are changed by one statement.

A statement that tells of a thousand jobs a hundred endpoints each would write 100,000 deliveries, which takes many
seconds: until then nothing of it is seen, its targets are locked, and it is all done again should it be cut off.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from stores.webhooks import MOST_ENDPOINTS

if TYPE_CHECKING:
    from stores.postgres.calls import Postgres

# By one statement, besides one more for each job: half a second.
MOST_TOLD: Final = 5000
# So few jobs are never told to more.
_FEW: Final = MOST_TOLD // MOST_ENDPOINTS
# Groups of the usual size, told to so few endpoints, need no looking after.
_LARGEST_GROUP: Final = 1000
# An endpoint that was added since makes one statement a little longer.
_KNOWN_FOR_S: Final = 5.0
_COUNT: Final = f"""
select tenant, count(*) as count from webhook_endpoints group by tenant having count(*) > {MOST_TOLD // _LARGEST_GROUP}
"""


class OfTenant(Protocol):
    @property
    def tenant(self) -> str: ...


Item = TypeVar("Item", bound=OfTenant)


class Listeners:
    """The tenants that have many endpoints, as it was some seconds ago."""

    def __init__(self, postgres: "Postgres", clock_s: Callable[[], float] = time.monotonic) -> None:
        self._postgres = postgres
        self._clock_s = clock_s
        self._many: Mapping[str, int] = {}
        self._known_until_s = float("-inf")

    async def grouped(self, placed: Sequence[tuple[int, Sequence[Item]]]) -> list[tuple[int, Sequence[Item]]]:
        """Jobs, or what has their tenants, by their places: in the same order, in groups that one statement may tell
        of. Raises `StoreUnavailable`."""
        if all(len(items) <= _FEW for _, items in placed):
            return list(placed)
        many = await self._looked_up()
        return [(place, group) for place, items in placed for group in _groups(items, many)]

    async def _looked_up(self) -> Mapping[str, int]:
        now_s = self._clock_s()
        if now_s >= self._known_until_s:
            self._many = {row["tenant"]: row["count"] for row in await self._postgres.fetch(_COUNT)}
            self._known_until_s = now_s + _KNOWN_FOR_S
        return self._many


def _groups(items: Sequence[Item], many: Mapping[str, int]) -> list[Sequence[Item]]:
    if not many:
        return [items]
    groups: list[Sequence[Item]] = []
    group: list[Item] = []
    told = 0
    for item in items:
        listeners = many.get(item.tenant, 0)
        if group and told + listeners > MOST_TOLD:
            groups.append(group)
            group, told = [], 0
        group.append(item)
        told += listeners
    return [*groups, group]
