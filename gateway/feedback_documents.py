"""What clients see of feedback, as JSON."""

from datetime import datetime
from typing import Literal

import msgspec

from schemas.feedback import Feedback


class FeedbackDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What was told of a job. `predicted` is the job's own label where a label was told and it is known; `reward` is
    then 1 if they are the same, else 0. Without `reward` the feedback is kept, and counts for nothing."""

    object: Literal["feedback"] = "feedback"
    job_id: str
    model: str
    model_version: str
    variant: str | None
    reward: float | None
    label: str | None
    predicted: str | None
    told_at: datetime


_encoder = msgspec.json.Encoder()


def encode_feedback(kept: Feedback) -> bytes:
    document = FeedbackDocument(
        job_id=kept.id,
        model=kept.model,
        model_version=kept.version,
        variant=kept.variant,
        reward=kept.reward,
        label=kept.label,
        predicted=kept.predicted,
        told_at=kept.told_at,
    )
    return _encoder.encode(document)
