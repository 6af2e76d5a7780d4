"""Where the options of a job stand in a record of the requests topic: names of attributes and headers."""

from collections.abc import Mapping
from typing import Final

from schemas.job_webhooks import EVENTS_OPTION, URL_OPTION

# An option's name is the envelope's (POST /v1/jobs), where that has it; on the left, CloudEvents' for the same.
ATTRIBUTES: Final[Mapping[str, str]] = {
    "id": "id",
    "source": "source",
    "model": "model",
    "modelversion": "version",
    "lane": "lane",
    "answer": "answer",
    "timeouts": "timeout_s",
    "retention": "retention_s",
    "rowerrors": "row_errors",
    "deadline": "deadline",
    "stickykey": "sticky_key",
    "metadata": "metadata",
    "jsonlength": "json_length",
    "claim": "claim",
    "claimsize": "claim_size",
    "claimsha256": "claim_sha256",
    "traceparent": "traceparent",
    "webhook": URL_OPTION,
    "webhookevents": EVENTS_OPTION,
}
CE_HEADERS: Final[Mapping[str, str]] = {f"ce_{attribute}": option for attribute, option in ATTRIBUTES.items()}
# Options whose plain header has their own name.
_SAME: Final = (
    "model",
    "version",
    "lane",
    "timeout_s",
    "retention_s",
    "row_errors",
    "deadline",
    "sticky_key",
    "metadata",
    URL_OPTION,
    EVENTS_OPTION,
)
PLAIN_HEADERS: Final[Mapping[str, str]] = {
    **{name: name for name in _SAME},
    "inference-header-content-length": "json_length",
    "traceparent": "traceparent",
    "content-type": "content_type",
    "ce_specversion": "specversion",
}
# Options that may stand beside the input, in the value.
BESIDE: Final = (
    "model",
    "version",
    "lane",
    "timeout_s",
    "retention_s",
    "row_errors",
    "sticky_key",
    "metadata",
    URL_OPTION,
    EVENTS_OPTION,
)
