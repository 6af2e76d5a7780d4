"""One submit on its way through the gateway."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.submit_request import Submit
from runtime.budget import Holding
from schemas.sticky_keys import key_from
from schemas.topics import Lane
from stores.protocols import IdempotencyKey, JobKey


@dataclass(slots=True, eq=False)
class Submission:
    """One submit on its way: what is asked, and what is known of it so far. `key` is that of its job, unless the
    request was answered before; `held` counts what it takes of the process's memory. `reply_to` is this gateway's
    name, where the request waits for the end; `written` is false once the job is sent and has no row."""

    key: JobKey
    headers: Mapping[bytes, bytes]
    submit: Submit = field(init=False)
    held: Holding = field(init=False)
    idempotency: IdempotencyKey | None = None
    traceparent: str | None = None
    lane: Lane | None = None
    reply_to: str | None = None
    written: bool = True

    def sticky_key(self, source: str) -> str | None:
        """What `source`, of the model's route, says is the job's. Raises `RequestError`."""
        options = self.submit.options
        return key_from(source, given=options.sticky_key, header=self._header, metadata=options.metadata)

    def _header(self, name: str) -> bytes | None:
        return self.headers.get(name.encode())
