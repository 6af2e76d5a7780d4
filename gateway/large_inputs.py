"""How inputs travel: in the record, or beside it in the blob store where they are too large for one."""

from collections.abc import Mapping

from gateway.settings import GatewaySettings
from schemas.jobs import Job, Payload
from schemas.records import RECORD_HEADERS_BYTES
from stores.blobs import Blobs
from stores.claims import put_input
from stores.protocols import JobKey


def most_body_bytes(settings: GatewaySettings, headers: Mapping[bytes, bytes]) -> int:
    """How large the body of a submit may be. Raw tensors take little to be read, and may be larger than JSON, where
    there is a blob store for them, as long as their JSON is no larger than JSON may be."""
    most_bytes = settings.gateway_max_body_bytes
    json_length = headers.get(b"inference-header-content-length", b"")
    if settings.blobs_url is None or not json_length.isdigit() or len(json_length) > 18:
        return most_bytes
    return most_bytes if int(json_length) > most_bytes else max(most_bytes, settings.claim_max_bytes)


class LargeInputs:
    """Without `blobs` nothing may be larger than a record."""

    def __init__(self, settings: GatewaySettings, blobs: Blobs | None) -> None:
        self._blobs = blobs
        self._record_bytes = settings.max_record_bytes - RECORD_HEADERS_BYTES
        self.most_bytes = self._record_bytes if blobs is None else max(self._record_bytes, settings.claim_max_bytes)

    def beside(self, payload: Payload) -> bool:
        """Whether the payload goes beside the record."""
        return len(payload.value) > self._record_bytes

    async def travelling(self, job: Job, payload: Payload) -> Payload:
        """What stands in the job's record. The blob is there before it: a crash in between leaves a blob that nobody
        names, never a record that names none. Raises `StoreUnavailable`."""
        if self._blobs is None or not self.beside(payload):
            return payload
        return await put_input(self._blobs, JobKey(job.tenant, job.id), job.created_at, payload)
