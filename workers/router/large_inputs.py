"""Inputs of direct producers that lie in the blob store, or are too large for a lane's record."""

from typing import Final

import msgspec

from runtime.budget import Holding, MemoryBudget
from schemas.claims import SIZE_HEADER
from schemas.decoder import CheckedInput
from schemas.errors import PayloadTooLarge
from schemas.records import RECORD_HEADERS_BYTES
from stores.blobs import Blobs
from stores.claims import fetch_input, put_input
from stores.protocols import JobKey
from workers.router.routing import Begun, tenant_of
from workers.router.settings import RouterSettings

USE: Final = "claims"


class LargeInputs:
    """Without `blobs` a claim cannot be read, and nothing may be larger than a record."""

    def __init__(self, settings: RouterSettings, blobs: Blobs | None, budget: MemoryBudget) -> None:
        self._settings = settings
        self._blobs = blobs
        self._budget = budget
        self._record_bytes = settings.max_record_bytes - RECORD_HEADERS_BYTES

    def hold(self) -> Holding:
        """For what is fetched of one record."""
        return self._budget.hold(USE)

    async def fetched(self, begun: Begun, held: Holding) -> Begun:
        """With the input that its claim names. Raises `PayloadTooLarge`, `InputGone`; `Unavailable` where there is no
        room for it now, or the store is away."""
        payload = begun.checked.payload
        if payload.claim is None:
            return begun
        most_bytes = self._settings.claim_max_bytes
        if payload.claim.size > most_bytes:
            raise PayloadTooLarge(f"header {SIZE_HEADER} must be at most {most_bytes}", param=SIZE_HEADER)
        held.resize(payload.claim.size)
        value = await fetch_input(self._blobs, payload.claim)
        return begun._replace(
            checked=begun.checked._replace(payload=msgspec.structs.replace(payload, value=value, claim=None))
        )

    async def travelling(self, begun: Begun, given: CheckedInput) -> CheckedInput:
        """The input as the lane's record carries it: as a claim under the job's own key where it is too large. What a
        producer has put belongs to another job, or to none, and may be swept before this one. Raises
        `StoreUnavailable`."""
        if self._blobs is None or len(given.payload.value) <= self._record_bytes:
            return given
        key = JobKey(tenant_of(begun.record), begun.asked.id)
        payload = await put_input(self._blobs, key, begun.asked.created_at, given.payload)
        return msgspec.structs.replace(given, payload=payload)
