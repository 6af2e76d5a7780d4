"""Inputs that are being looked through: a few at a time, and no tenant keeps the others from it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from schemas.batches import Batch
from stores.batches import Lead

# Of all tenants; of each, one at a time.
AT_ONCE: Final = 4


class Looking:
    """`look` has an input looked through, and writes down what was found."""

    def __init__(self, look: Callable[[Lead, Batch], Awaitable[None]]) -> None:
        self._look = look
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._tenants: dict[str, str] = {}  # of the batches that are looked at
        self._last_turns: dict[str, int] = {}
        self._turns = 0

    def check(self, batch_id: str) -> None:
        """Raises what looking through this batch's input has raised; then it is not looked at any more."""
        task = self._tasks.get(batch_id)
        if task is not None and task.done():
            self._forget(batch_id)
            task.result()

    def begin(self, lead: Lead, waiting: Sequence[Batch]) -> None:
        """Look through those of `waiting` whose turn it is. Those that are looked at may be among them."""
        asked = {batch.id for batch in waiting}
        for batch_id in [each for each, task in self._tasks.items() if task.done()]:
            if batch_id not in asked or not _failed(self._tasks[batch_id]):
                self._forget(batch_id)
        tenants = {batch.tenant for batch in waiting}
        self._last_turns = {tenant: turn for tenant, turn in self._last_turns.items() if tenant in tenants}
        while len(self._tasks) < AT_ONCE:
            busy = set(self._tenants.values())
            free = [batch for batch in waiting if batch.tenant not in busy]
            if not free:
                return
            batch = min(free, key=lambda each: (self._last_turns.get(each.tenant, 0), each.expires_at, each.id))
            self._turns += 1
            self._last_turns[batch.tenant] = self._turns
            self._tenants[batch.id] = batch.tenant
            self._tasks[batch.id] = asyncio.ensure_future(self._look(lead, batch))

    async def settled(self) -> None:
        """Return once nothing is being looked through."""
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def stop(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await self.settled()
        self._tasks.clear()
        self._tenants.clear()

    def _forget(self, batch_id: str) -> None:
        del self._tasks[batch_id]
        del self._tenants[batch_id]


def _failed(task: "asyncio.Task[None]") -> bool:
    """What it raised is for `check`."""
    return task.cancelled() or task.exception() is not None
