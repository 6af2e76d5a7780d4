"""What sends, and what comes of it."""

from collections.abc import Mapping
from typing import Protocol

import msgspec

from schemas.webhooks import Limits
from stores.webhooks import Verdict


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one attempt. `status` is None where there was no answer. `error` and `head` are short and printable,
    and may be shown to whoever owns the endpoint: `error` says why it was not delivered, `head` is the beginning of the
    answer. `retry_after_s` is what the answer asked for."""

    verdict: Verdict
    status: int | None = None
    error: str | None = None
    head: str | None = None
    retry_after_s: float | None = None


class Sender(Protocol):
    """Sends one request and says what came of it. Raises nothing."""

    async def send(self, url: str, headers: Mapping[str, str], body: bytes, limits: Limits) -> Reply:
        """`POST` the body. `headers` are those that sign it; the others are the sender's. Takes `limits.timeout_s` at
        most."""
