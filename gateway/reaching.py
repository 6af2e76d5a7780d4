"""What a client is told where the store is away, or Kafka cannot be told what was written."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from runtime.logs import get_logger
from schemas.errors import PenstockError, StoreUnavailable, Unavailable

log = get_logger(__name__)

RETRY_AFTER_S: Final = 2.0


@contextmanager
def reaching(event: str, told: str, perhaps_done: str | None = None) -> Iterator[None]:
    """`StoreUnavailable` becomes `Unavailable`. The `event` is for the log, the others for the client: what it is
    `told`, and what instead where the store has `perhaps_done` what it was asked."""
    try:
        yield
    except StoreUnavailable as error:
        log.warning(event, reason=error.message)
        text = perhaps_done if perhaps_done is not None and error.perhaps_done else told
        raise Unavailable(text, retry_after_s=RETRY_AFTER_S) from error


@contextmanager
def telling(event: str, done: str, whom: str, **logged: str) -> Iterator[None]:
    """Whatever keeps Kafka from being told becomes `Unavailable`; who looks after the topic tells it later. The `event`
    is for the log, with what else is `logged`; the others for the client: what is `done`, and `whom` it concerns."""
    try:
        yield
    except PenstockError as error:
        log.warning(event, **logged, reason=error.message)
        later = "They will be, without another request, once Kafka can be reached."
        text = f"{done}, and {whom} could not be told yet. {later}"
        raise Unavailable(text, retry_after_s=RETRY_AFTER_S) from error
