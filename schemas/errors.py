"""The one error tree. Each class says its code, its HTTP status and whether the same request may succeed later.

    PenstockError                     500  internal
    ├── RequestError                  400  invalid_request        the caller must change something
    │   ├── InvalidInput              400  invalid_input          a tensor, feature or image breaks the signature
    │   ├── Unauthenticated           401  unauthenticated
    │   ├── NotFound                  404  not_found
    │   │   ├── JobNotFound           404  job_not_found
    │   │   ├── ModelNotFound         404  model_not_found
    │   │   ├── RouteNotFound         404  route_not_found        the model has no route, or not this revision of it
    │   │   ├── HoldNotFound          404  hold_not_found         there is no such hold, or it was released
    │   │   ├── WebhookEndpointNotFound 404  webhook_endpoint_not_found
    │   │   ├── WebhookDeliveryNotFound 404  webhook_delivery_not_found
    │   │   ├── FileNotFound          404  file_not_found
    │   │   └── BatchNotFound         404  batch_not_found
    │   ├── MethodNotAllowed          405  method_not_allowed
    │   ├── NotAcceptable             406  not_acceptable
    │   ├── Conflict                  409  conflict
    │   │   ├── ResultNotReady        409  result_not_ready
    │   │   ├── RequestInFlight       409  request_in_flight      the same idempotency key is being answered
    │   │   └── DeadlineUnattainable  409  deadline_unattainable  by then it cannot be done; it says by when it can
    │   ├── CrossSite                 403  cross_site             a browser sends it for a page of another site
    │   ├── LinkInvalid               403  link_invalid           a link to a result that we did not sign
    │   ├── LinkExpired               410  link_expired           a link whose time is over, or whose result is gone
    │   ├── InputGone                 410  input_gone             what a claim names is not in the blob store any more
    │   ├── RequestTimeout            408  request_timeout        the client did not send on in time
    │   ├── PayloadTooLarge           413  payload_too_large
    │   ├── HeadTooLarge              431  head_too_large         too many headers, or too large
    │   ├── UnsupportedMediaType      415  unsupported_media_type
    │   ├── IdempotencyMismatch       422  idempotency_mismatch   same key, other body
    │   ├── PreconditionFailed        412  precondition_failed    what is to be changed is not as `If-Match` expects
    │   └── Refused                   400  refused                met as a client: the server's words, with its code
    ├── LaneFull                      429  lane_full
    ├── RateLimited                   429  rate_limited           too many such requests
    ├── Unavailable                   503  unavailable            try again; with the same key nothing runs twice
    │   ├── AdmissionRefused          503  admission_refused      an operator takes no such jobs for now
    │   ├── QueueUnavailable          503  queue_unavailable
    │   │   ├── OutcomeUnknown        503  outcome_unknown        the record may or may not have been written
    │   │   └── TopicMissing          503  topic_missing          Kafka answers, and has no such topic
    │   ├── StoreUnavailable          503  store_unavailable
    │   └── KeyMissing                503  key_missing            the key that sealed a secret is not among ours
    ├── WebhookTestFailed             502  webhook_test_failed    no answer came to a test event
    │   └── WebhookTestTimeout        504  webhook_test_timeout   nobody sent, or claimed, the test event in time
    ├── JobError                      500  inference_failed       why a job ended as `failed`
    │   ├── OutputInvalid             500  output_invalid
    │   ├── OutOfMemory               500  out_of_memory          the device has no room for even this job alone
    │   ├── ModelCrashed              500  model_crashed          the model ended the process that it ran in
    │   ├── TimeLimitExceeded         500  time_limit_exceeded    one run took longer than its model may
    │   ├── TransientFailure          500  transient_failure      tried again later, tier by tier
    │   │   └── ModelUnavailable      500  model_unavailable      this worker cannot run the version at the moment
    │   ├── Canceled                  409  canceled
    │   └── DeadlineExceeded          504  deadline_exceeded
    ├── BlobNotFound                  500  blob_not_found         inside only: clients are told of what it was for
    ├── Undecodable                   400  undecodable            a record that is no message of ours: dead-lettered
    └── ConfigurationError            500  configuration          found at start-up; the process exits with 2

Drivers' own errors are wrapped once, where the driver is called, with the cause kept.
"""

from datetime import datetime
from typing import ClassVar, Final

import msgspec

# An error may quote what it refuses, which may be megabytes.
MAX_MESSAGE_CHARACTERS: Final = 2000
MAX_PARAM_CHARACTERS: Final = 200


def shortened(text: str, characters: int) -> str:
    return text if len(text) <= characters else f"{text[: characters - 3]}..."


class ErrorBody(msgspec.Struct, frozen=True, omit_defaults=False):
    """What a client sees of an error, in a problem document and in a failed job.

    `code` is stable and meant for programs, `message` for people; `param` names the field at fault, if one is.
    """

    code: str
    message: str
    type: str
    param: str | None = None


class PenstockError(Exception):
    """Root of every error we raise on purpose."""

    code: ClassVar[str] = "internal"
    type: ClassVar[str] = "server_error"
    title: ClassVar[str] = "Internal error"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, param: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s

    def body(self) -> ErrorBody:
        """The part of the error that may be shown outside."""
        param = None if self.param is None else shortened(self.param, MAX_PARAM_CHARACTERS)
        return ErrorBody(self.code, shortened(self.message, MAX_MESSAGE_CHARACTERS), self.type, param)


class RequestError(PenstockError):
    """The caller must change the request."""

    code = "invalid_request"
    type = "invalid_request_error"
    title = "Invalid request"
    status = 400


class InvalidInput(RequestError):
    """A tensor, feature or image does not fit the model's signature."""

    code = "invalid_input"
    title = "Invalid input"


class Unauthenticated(RequestError):
    code = "unauthenticated"
    type = "authentication_error"
    title = "Unauthenticated"
    status = 401


class NotFound(RequestError):
    code = "not_found"
    type = "not_found_error"
    title = "Not found"
    status = 404


class JobNotFound(NotFound):
    code = "job_not_found"
    title = "Job not found"


class ModelNotFound(NotFound):
    code = "model_not_found"
    title = "Model not found"


class RouteNotFound(NotFound):
    code = "route_not_found"
    title = "Route not found"


class HoldNotFound(NotFound):
    code = "hold_not_found"
    title = "Hold not found"


class WebhookEndpointNotFound(NotFound):
    code = "webhook_endpoint_not_found"
    title = "Webhook endpoint not found"


class WebhookDeliveryNotFound(NotFound):
    code = "webhook_delivery_not_found"
    title = "Webhook delivery not found"


class FileNotFound(NotFound):
    code = "file_not_found"
    title = "File not found"


class BatchNotFound(NotFound):
    code = "batch_not_found"
    title = "Batch not found"


class MethodNotAllowed(RequestError):
    code = "method_not_allowed"
    title = "Method not allowed"
    status = 405

    def __init__(self, message: str, *, allow: str) -> None:
        super().__init__(message)
        self.allow = allow


class NotAcceptable(RequestError):
    code = "not_acceptable"
    title = "Not acceptable"
    status = 406


class Conflict(RequestError):
    code = "conflict"
    type = "conflict_error"
    title = "Conflict"
    status = 409


class ResultNotReady(Conflict):
    code = "result_not_ready"
    title = "Result not ready"
    retryable = True


class RequestInFlight(Conflict):
    """The first request with this idempotency key has not been answered yet."""

    code = "request_in_flight"
    title = "Request in flight"
    retryable = True


class DeadlineUnattainable(Conflict):
    """It cannot be done by its deadline beside what was promised before; by `earliest` it could be, if there is one."""

    code = "deadline_unattainable"
    title = "Deadline unattainable"

    def __init__(self, message: str, *, param: str | None = None, earliest: datetime | None = None) -> None:
        super().__init__(message, param=param)
        self.earliest = earliest


class CrossSite(RequestError):
    """A browser sends the request for a page of another site, which may not change anything here."""

    code = "cross_site"
    title = "Cross-site request"
    status = 403


class LinkInvalid(RequestError):
    """A link to a result that we did not sign, or that was changed since."""

    code = "link_invalid"
    title = "Invalid link"
    status = 403


class LinkExpired(RequestError):
    """A link whose time is over, or whose result is kept no longer."""

    code = "link_expired"
    title = "Expired link"
    status = 410


class InputGone(RequestError):
    """The job's input was kept in the blob store, and is not there any more, or is another one."""

    code = "input_gone"
    title = "Input gone"
    status = 410


class RequestTimeout(RequestError):
    """The client did not send its request, or went on with it, in time."""

    code = "request_timeout"
    title = "Request timeout"
    status = 408
    retryable = True


class HeadTooLarge(RequestError):
    code = "head_too_large"
    title = "Request header fields too large"
    status = 431


class PayloadTooLarge(RequestError):
    code = "payload_too_large"
    title = "Payload too large"
    status = 413


class UnsupportedMediaType(RequestError):
    code = "unsupported_media_type"
    title = "Unsupported media type"
    status = 415


class IdempotencyMismatch(RequestError):
    """The idempotency key was used before with another body."""

    code = "idempotency_mismatch"
    title = "Idempotency key reused"
    status = 422


class PreconditionFailed(RequestError):
    """What is to be changed is not as the request expects: somebody else has changed it, or it is not there."""

    code = "precondition_failed"
    type = "conflict_error"
    title = "Precondition failed"
    status = 412


class Refused(RequestError):
    """What a server of ours, or a proxy before it, answered to a request that we made as its client."""

    code = "refused"
    title = "Refused"

    def __init__(self, told: ErrorBody) -> None:
        super().__init__(told.message, param=told.param)
        self._told = told

    def body(self) -> ErrorBody:
        return self._told


class LaneFull(PenstockError):
    """The lane holds `limit_records`, as many as it may; `retry_after_s` is when there should be room."""

    code = "lane_full"
    type = "rate_limit_error"
    title = "Lane full"
    status = 429
    retryable = True

    def __init__(self, message: str, *, retry_after_s: float | None = None, limit_records: int | None = None) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.limit_records = limit_records


class RateLimited(PenstockError):
    """More of such requests come than one process answers."""

    code = "rate_limited"
    type = "rate_limit_error"
    title = "Too many requests"
    status = 429
    retryable = True


class Unavailable(PenstockError):
    code = "unavailable"
    type = "service_unavailable_error"
    title = "Service unavailable"
    status = 503
    retryable = True


class AdmissionRefused(Unavailable):
    """An operator has such jobs refused; nothing is wrong with the job, and the same one is taken once that is over."""

    code = "admission_refused"
    title = "Admission refused"


class QueueUnavailable(Unavailable):
    """Kafka refused or could not be reached; the record was not written."""

    code = "queue_unavailable"


class OutcomeUnknown(QueueUnavailable):
    """Kafka did not answer in time: the record may or may not have been written."""

    code = "outcome_unknown"


class TopicMissing(QueueUnavailable):
    """Kafka was reached and has no such topic; for a lane: no worker has made it yet."""

    code = "topic_missing"


class StoreUnavailable(Unavailable):
    """The store could not be reached, or did not say in time whether it did what it was asked: `perhaps_done`."""

    code = "store_unavailable"

    def __init__(self, message: str, *, perhaps_done: bool = False) -> None:
        super().__init__(message)
        self.perhaps_done = perhaps_done


class KeyMissing(Unavailable):
    """A secret was sealed with a key that this process was not given, or that is another one under the same id."""

    code = "key_missing"

    def __init__(self, message: str, *, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key


class WebhookTestFailed(PenstockError):
    """A test event was sent, and no answer came: the endpoint could not be reached, or must not be."""

    code = "webhook_test_failed"
    title = "Webhook test failed"
    status = 502


class WebhookTestTimeout(WebhookTestFailed):
    """Nobody sent the test event in time; where events are pulled, nobody claimed it."""

    code = "webhook_test_timeout"
    title = "Webhook test not done in time"
    status = 504


class JobError(PenstockError):
    """Why a job ended as `failed`: the model raised."""

    code = "inference_failed"
    type = "inference_error"
    title = "Inference failed"


class OutputInvalid(JobError):
    """The model answered something its signature does not promise."""

    code = "output_invalid"
    title = "Output invalid"


class OutOfMemory(JobError):
    """The device has no room for the micro-batch; of a micro-batch of several jobs, a smaller one may fit."""

    code = "out_of_memory"
    title = "Out of memory"


class ModelCrashed(JobError):
    """The model ended the process it ran in: by a segmentation fault, by using up the memory, by exiting."""

    code = "model_crashed"
    title = "Model crashed"


class TimeLimitExceeded(JobError):
    """A run took longer than model.yaml allows and was cut off."""

    code = "time_limit_exceeded"
    title = "Time limit exceeded"


class TransientFailure(JobError):
    """Nothing is wrong with the job: what the model needs was not there. The same job may succeed later."""

    code = "transient_failure"
    title = "Transient failure"
    retryable = True


class ModelUnavailable(TransientFailure):
    """The version cannot be run where the job came to: it does not load, or it answers wrongly there."""

    code = "model_unavailable"


class Canceled(JobError):
    code = "canceled"
    title = "Canceled"
    status = 409


class DeadlineExceeded(JobError):
    code = "deadline_exceeded"
    title = "Deadline exceeded"
    status = 504


class BlobNotFound(PenstockError):
    """There is no blob of that key."""

    code = "blob_not_found"
    title = "Blob not found"


class Undecodable(PenstockError):
    """A Kafka record that is no message of ours. It goes to the dead-letter topic at once."""

    code = "undecodable"
    type = "invalid_request_error"
    title = "Undecodable record"
    status = 400


class ConfigurationError(PenstockError):
    """Found at start-up; the process prints it on one line and exits with 2.

    `told` is what clients may be told of it, where its message says more.
    """

    code = "configuration"
    title = "Configuration error"

    def __init__(self, message: str, *, param: str | None = None, told: str | None = None) -> None:
        super().__init__(message, param=param)
        self.told = told
