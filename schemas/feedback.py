"""What callers tell of answers later: a reward, or the label that would have been right. Pure."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from schemas.errors import Conflict, JobNotFound, PenstockError, RequestError, ResultNotReady
from schemas.jobs import Job, Status, is_job_id
from schemas.malformed import UNKNOWN_MEMBER, did_you_mean, why_not_json
from schemas.members import first_twin
from schemas.results import as_json

MAX_BYTES: Final = 4 * 1024
MAX_LABEL_CHARACTERS: Final = 255
# A label is looked for in results up to this size: they are read together with others.
MOST_READ_BYTES: Final = 64 * 1024


class FeedbackRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is told of a job's answer: `reward`, 0 (of no use) to 1, or the `label` that is right. One of the two.

    `job_id` names the job where no path does: in records of Kafka.
    """

    reward: float | None = None
    label: str | int | bool | None = None
    job_id: str | None = None


class Told(msgspec.Struct, frozen=True):
    """Feedback as it was told, `at` an aware UTC time. One of `reward` and `label` is there."""

    tenant: str
    id: str
    at: datetime
    reward: float | None = None
    label: str | None = None


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """What was told of a job, with what its version is judged by.

    `reward` is None where a label was told and nobody knows what the job's own is; else 1 for the right label and 0 for
    a wrong one. `predicted` is the job's own label. `cohort` is None for a job that tells nothing of a route's share:
    one that came by none, or was moved from another version. `ended_at` is when the job did.
    """

    tenant: str
    id: str
    told_at: datetime
    ended_at: datetime
    model: str
    version: str
    lane: str
    variant: str | None = None
    revision: int | None = None
    cohort: int | None = None
    reward: float | None = None
    label: str | None = None
    predicted: str | None = None


_decoder: Final = msgspec.json.Decoder(FeedbackRequest)


def read_feedback(body: bytes) -> FeedbackRequest:
    """Raises `RequestError` naming the field and the rule."""
    if len(body) > MAX_BYTES:
        raise RequestError(f"feedback has at most {MAX_BYTES} bytes")
    try:
        found = _decoder.decode(body)
        twin = first_twin(body)
    except msgspec.ValidationError as error:
        raise _malformed(error) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"the body is not valid JSON: {why_not_json(error, body)}") from error
    except RecursionError as error:
        raise RequestError("the body is nested too deeply") from error
    if twin is not None:
        raise RequestError(f"{twin[:64]} is given twice", param=twin[:64])
    return _checked(found)


def _malformed(error: msgspec.ValidationError) -> RequestError:
    told = str(error)
    for field in FeedbackRequest.__struct_fields__:
        if f"$.{field}" in told:
            return RequestError(f"{field} {_RULES[field]}", param=field)
    unknown = UNKNOWN_MEMBER.search(told)
    name = unknown[1][:64] if unknown else ""
    hint = did_you_mean(name, FeedbackRequest.__struct_fields__) if name else ""
    return RequestError(f"the body is no feedback: {told[:200]}{hint}", param=name or None)


_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")
_RULES: Final = {
    "reward": "must be a number from 0 to 1",
    "label": f"must be a text of 1 to {MAX_LABEL_CHARACTERS} characters, a whole number, true or false",
    "job_id": "must be a job's id",
}


def _checked(found: FeedbackRequest) -> FeedbackRequest:
    if (found.reward is None) == (found.label is None):
        told = "either reward or label" if found.reward is None else "reward or label, not both"
        raise RequestError(f"feedback must have {told}", param="reward")
    if found.reward is not None and not 0 <= found.reward <= 1:
        raise RequestError(f"reward {_RULES['reward']}", param="reward")
    if found.label is not None and not _is_label(label_text(found.label)):
        raise RequestError(f"label {_RULES['label']}", param="label")
    if found.job_id is not None and not is_job_id(found.job_id):
        raise RequestError(f"job_id {_RULES['job_id']}", param="job_id")
    return found


def _is_label(text: str) -> bool:
    """Of texts, what a store can hold: JSON may escape a NUL, and halves of characters."""
    return 0 < len(text) <= MAX_LABEL_CHARACTERS and not _UNSTORABLE.search(text)


def label_text(label: str | int | bool) -> str:
    """Labels are compared as text: a class that is a number equals its digits, true and false their JSON."""
    return str(label).lower() if isinstance(label, bool) else str(label)


def told_of(request: FeedbackRequest, tenant: str, job_id: str, at: datetime) -> Told:
    label = None if request.label is None else label_text(request.label)
    return Told(tenant, job_id, at, request.reward, label)


def feedback_of(told: Told, job: Job | None) -> Feedback:
    """The feedback of this job. Raises `JobNotFound`, `ResultNotReady` before its end, `Conflict` for one that has no
    answer, and for a label where there may be several."""
    if job is None:
        raise JobNotFound(f"there is no job {told.id}", param="id")
    if not job.done or job.completed_at is None:
        raise ResultNotReady(f"{told.id} is {job.status}: there is no answer yet to tell anything of")
    if job.status is not Status.SUCCEEDED:
        ended = "was canceled" if job.status is Status.CANCELED else "failed, which is counted already"
        raise Conflict(f"{told.id} {ended}: there is no answer to tell anything of", param="status")
    if told.label is not None and job.rows != 1:
        raise Conflict(f"{told.id} has {job.rows} rows, and a label is of one: tell a reward", param="label")
    predicted = None if told.label is None else predicted_label(job)
    right = None if predicted is None else float(predicted == told.label)
    return Feedback(
        tenant=told.tenant,
        id=told.id,
        told_at=told.at,
        ended_at=job.completed_at,
        model=job.model,
        version=job.version,
        lane=job.lane,
        variant=job.variant,
        revision=job.revision,
        cohort=job.cohort if job.moved_from is None else None,
        reward=right if told.reward is None else told.reward,
        label=told.label,
        predicted=predicted,
    )


def predicted_label(job: Job) -> str | None:
    """The label that the job's result names, where it is plain which that is: of one row, and

    - a prediction, or the one element of an output, that is a text, a whole number, true or false;
    - of several outputs, the only one of them that is;
    - of scores by label, the label with the highest.

    None for all else: several of these, numbers with a fraction, texts that are no labels, and results of more than
    64 KiB.
    """
    result = job.result
    if job.rows != 1 or result is None or len(result.value) > MOST_READ_BYTES:
        return None
    try:
        document = msgspec.json.decode(as_json(result), type=dict[str, Any])
    except (ValueError, RecursionError, PenstockError):  # of a worker of another version
        return None
    if "predictions" in document:
        rows = document["predictions"]
        return _label_in(rows[0]) if isinstance(rows, list) and len(rows) == 1 else None
    outputs = document.get("outputs")
    return _only([_element(each) for each in outputs]) if isinstance(outputs, list) else None


def _element(output: Any) -> Any:
    data = output.get("data") if isinstance(output, Mapping) else None
    return data[0] if isinstance(data, list) and len(data) == 1 else None


def _label_in(prediction: Any) -> str | None:
    if not isinstance(prediction, Mapping):
        return _only([prediction])
    if len(prediction) > 1 and all(isinstance(score, float) for score in prediction.values()):
        return _only([max(prediction, key=lambda label: prediction[label])])
    return _only(list(prediction.values()))


def _only(values: list[Any]) -> str | None:
    labels = [label_text(value) for value in values if isinstance(value, str | int)]
    return labels[0] if len(labels) == 1 and _is_label(labels[0]) else None
