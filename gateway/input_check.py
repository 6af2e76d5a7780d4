"""Holding an input against its model's signature without holding up other requests."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from runtime.budget import MemoryBudget
from schemas.errors import InvalidInput
from schemas.images import IMAGE_TYPES
from schemas.inputs import CheckedInput, check_input
from schemas.jobs import Payload
from schemas.signature import Signature

# Checking more than this may take milliseconds: a thread does it.
INLINE_CHECK_BYTES: Final = 128 * 1024
# While an input is checked, its values are Python objects: as many times its size as short values in JSON come to.
CHECK_FACTOR: Final = 80


class InputChecks:
    """Small inputs are checked at once, large ones one after the other: what they need for a moment is a multiple of
    their size, and more threads would share one interpreter anyway."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._large = ThreadPoolExecutor(1, "large-inputs")

    async def check(self, signature: Signature, payload: Payload) -> CheckedInput:
        """Raises what `check_input` raises, and `Unavailable` where the process has no room for the check."""
        try:
            if payload.content_type in IMAGE_TYPES:
                return await asyncio.to_thread(check_input, signature, payload)
            if len(payload.value) <= INLINE_CHECK_BYTES:
                return check_input(signature, payload)
            return await asyncio.get_running_loop().run_in_executor(self._large, self._check, signature, payload)
        except RecursionError as error:
            raise InvalidInput("the input is nested too deeply", param="input") from error

    def _check(self, signature: Signature, payload: Payload) -> CheckedInput:
        with self._budget.hold("checks") as held:
            held.grow(CHECK_FACTOR * len(payload.value))
            return check_input(signature, payload)
