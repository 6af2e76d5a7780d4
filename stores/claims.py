"""Payloads in the blob store: put whole before the record that names them, checked by whoever reads them."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Final

import msgspec

from schemas.claims import Claim, claim_key
from schemas.errors import BlobNotFound, InputGone, StoreUnavailable
from schemas.jobs import Payload
from stores.blobs import PIECE_BYTES, Blobs
from stores.protocols import JobKey

NO_BLOBS: Final = "large inputs lie in the blob store, which this process is not told of: set PENSTOCK_BLOBS_URL"


async def put_input(blobs: Blobs, job: JobKey, created_at: datetime, payload: Payload) -> Payload:
    """The payload as a claim, once its bytes lie in the store. The same input of the same job is the same blob.

    Raises `StoreUnavailable`.
    """
    sha256 = await asyncio.to_thread(_sha256, payload.value)
    key = claim_key(job.tenant, created_at, job.id, "input", sha256)
    written = await blobs.put(key, _pieces(payload.value))
    return msgspec.structs.replace(payload, value=b"", claim=Claim(key, written.size, sha256))


async def fetch_input(blobs: Blobs | None, claim: Claim) -> bytes:
    """The bytes that the claim names, never more than it says. Raises `InputGone` where they are not there, or are
    others, and `StoreUnavailable`."""
    if blobs is None:
        raise StoreUnavailable(NO_BLOBS)
    try:
        if await blobs.size(claim.key) != claim.size:
            raise InputGone("the job's input is not in the blob store any more, or has another size than claimed")
        value = b"".join([piece async for piece in blobs.read(claim.key, 0, claim.size)])
    except BlobNotFound as error:
        raise InputGone("the job's input is not in the blob store any more") from error
    if len(value) != claim.size or await asyncio.to_thread(_sha256, value) != claim.sha256:
        raise InputGone("the job's input in the blob store is not the one that its claim names")
    return value


def _sha256(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()


async def _pieces(value: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(value), PIECE_BYTES):
        yield value[start : start + PIECE_BYTES]
