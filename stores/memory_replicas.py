"""The in-memory twin of what replicas report. For tests."""

from collections.abc import Sequence

from schemas.errors import StoreUnavailable
from stores.replicas import Replica


class MemoryReplicas:
    """`Replicas` that are never forgotten. While `down` is true, every call raises `StoreUnavailable`."""

    def __init__(self) -> None:
        self.down = False
        self._reported: dict[tuple[str, str], Replica] = {}

    async def report(self, replica: Replica) -> None:
        self._check_up()
        self._reported[replica.role, replica.instance] = replica

    async def leave(self, instance: str, role: str) -> None:
        self._check_up()
        self._reported.pop((role, instance), None)

    async def all(self) -> Sequence[Replica]:
        self._check_up()
        return sorted(self._reported.values(), key=lambda each: (each.role, each.instance))

    def _check_up(self) -> None:
        if self.down:
            raise StoreUnavailable("the replicas are down")
