"""Attempts at what did not answer well the last time, or was never tried: how many run, and when each begins.

Hundreds that hang, all due at once, would take the places and the processor from those that answer.
"""

import asyncio
from collections.abc import Collection
from typing import Final

from workers.notifier.shares import Shares

# They are begun at this rate at most, and none waits longer for its turn: it is leased meanwhile.
DOUBTFUL_PER_S: Final = 100.0
LONGEST_TURN_S: Final = 2.0


class Doubtful:
    """So many `places` at most. Tenants share these, and the turns: 10,000 new targets of one keep out nobody else."""

    def __init__(self, places: int) -> None:
        self._places = Shares(places)
        self._turns = Shares(max(1, int(LONGEST_TURN_S * DOUBTFUL_PER_S)))
        self._turn_at_s = 0.0

    @property
    def room(self) -> int:
        """How many more may be claimed now."""
        return min(self._places.room, self._turns.room)

    def crowding(self) -> Collection[str]:
        """Tenants of which none may be claimed now."""
        return {*self._places.crowding(), *self._turns.crowding()}

    def take(self, tenant: str) -> None:
        self._places.take(tenant)
        self._turns.take(tenant)

    async def turn(self, tenant: str) -> None:
        """Wait for the turn of one that was taken."""
        now_s = asyncio.get_running_loop().time()
        turn_at_s = max(now_s, self._turn_at_s)
        self._turn_at_s = turn_at_s + 1 / DOUBTFUL_PER_S
        try:
            await asyncio.sleep(turn_at_s - now_s)
        finally:
            self._turns.give_back(tenant)

    def ended(self, tenant: str) -> None:
        self._places.give_back(tenant)
