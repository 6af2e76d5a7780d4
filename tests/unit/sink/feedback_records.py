"""Feedback as programs write it to Kafka, with all the headers of an event."""

from datetime import datetime

import msgspec

from schemas.feedback import FeedbackRequest
from schemas.records import Headers, OutRecord, timestamp


def feedback_record(topic: str, job_id: str, request: FeedbackRequest, at: datetime, source: str) -> OutRecord:
    """Keyed by the job, so that what is told of one stands in one partition, in order."""
    value = {name: given for name in ("reward", "label") if (given := getattr(request, name)) is not None}
    headers: Headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", job_id.encode()),
        ("ce_source", source.encode()),
        ("ce_type", b"io.penstock.feedback.v1"),
        ("ce_time", timestamp(at).encode()),
        ("content-type", b"application/json"),
    ]
    return OutRecord(topic, job_id.encode(), msgspec.json.encode(value), headers)
