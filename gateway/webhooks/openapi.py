"""What the OpenAPI document says of webhooks."""

from typing import Final

from gateway.openapi import (
    BODY_ENCODED,
    BODY_TOO_LARGE,
    DOWN,
    GET_RESULT,
    RETRY_AFTER,
    Doc,
    Responses,
    answer,
    body,
    ref,
    refusal,
)
from schemas.jobs import JSON


def _with(schema: str, *, required: bool = True) -> Doc:
    return {"requestBody": body(schema) | {"required": required}}


WITH_ENDPOINT: Final = _with("WebhookEndpointRequest")
WITH_CHANGE: Final = _with("WebhookEndpointChange")
WITH_ROTATION: Final = _with("WebhookRotationRequest", required=False)
WITH_ENABLING: Final = _with("WebhookEnablingRequest", required=False)
WITH_DISABLING: Final = _with("WebhookDisablingRequest", required=False)
WITH_SAMPLE: Final = _with("WebhookEndpointTestRequest", required=False)
WITH_REPLAY: Final = _with("WebhookReplayRequest")
WITH_CLAIM: Final = _with("WebhookClaimRequest", required=False)
WITH_RENEWAL: Final = _with("WebhookRenewalRequest")
WITH_ACKNOWLEDGED: Final = _with("WebhookAcknowledgeRequest")

_BAD: Final = refusal("A member or parameter breaks its rule; `error.param` names it.")
_NO_ENDPOINT: Final = refusal("There is no such endpoint.")
_NO_DELIVERY: Final = refusal("There is no such delivery.")
_SENT: Final = refusal("Events are sent to this endpoint; nobody claims them.")
_BODY: Final[Responses] = {400: _BAD, 413: BODY_TOO_LARGE, 415: BODY_ENCODED, 503: DOWN}
_OF_ENDPOINT: Final[Responses] = {**_BODY, 404: _NO_ENDPOINT}

LIST: Final[Responses] = {
    200: answer("A page of endpoints.", "WebhookEndpointList"),
    400: _BAD,
    404: _NO_ENDPOINT,
    503: DOWN,
}
GET: Final[Responses] = {200: answer("The endpoint.", "WebhookEndpoint"), 404: _NO_ENDPOINT, 503: DOWN}
EVENT_TYPES: Final[Responses] = {200: answer("All types.", "WebhookEventTypeList")}
CREATE: Final[Responses] = {
    **_BODY,
    200: answer("The endpoint, with its secret.", "WebhookEndpoint"),
    409: refusal("There are too many endpoints."),
}
CHANGE: Final[Responses] = {
    **_OF_ENDPOINT,
    200: answer("The endpoint as it is now.", "WebhookEndpoint"),
    409: refusal("Others change it at the same time."),
}
DELETE: Final[Responses] = {
    200: answer("It is there no more.", "DeletedWebhookEndpoint"),
    404: _NO_ENDPOINT,
    503: DOWN,
}
TEST: Final[Responses] = {
    **_OF_ENDPOINT,
    200: answer("The endpoint answered, with whatever status.", "WebhookEndpointTestResult"),
    502: refusal("No answer came; the message says why."),
    504: refusal("Nobody sent the event in time, as where no notifier runs; or nobody claimed and acknowledged it."),
}

LIST_DELIVERIES: Final[Responses] = {
    200: answer("A page of deliveries.", "WebhookDeliveryList"),
    400: _BAD,
    404: _NO_DELIVERY,
    503: DOWN,
}
LIST_OF_ENDPOINT: Final[Responses] = LIST_DELIVERIES | {404: refusal("There is no such endpoint, or delivery.")}
GET_DELIVERY: Final[Responses] = {
    200: answer("The delivery, with its attempts.", "WebhookDelivery"),
    404: _NO_DELIVERY,
    503: DOWN,
}
REPLAY_ONE: Final[Responses] = {
    200: answer("The delivery, which is tried again.", "WebhookDelivery"),
    404: _NO_DELIVERY,
    409: refusal("It has not ended, and is tried anyway; or its endpoint was deleted."),
    503: DOWN,
}
REPLAY: Final[Responses] = {
    **_BODY,
    200: {
        "description": "How many are tried again; with `dry_run`, how many are meant.",
        "content": {JSON: {"schema": {"anyOf": [ref("WebhookReplay"), ref("WebhookDeliveryCount")]}}},
    },
}

CLAIM: Final[Responses] = {
    **_OF_ENDPOINT,
    200: answer("The events that were claimed; none where none came in time.", "WebhookEventList"),
    409: _SENT,
}
LEASES: Final[Responses] = {
    **_OF_ENDPOINT,
    200: answer("Whose leases still stood, and whose did not.", "WebhookLeases"),
    409: _SENT,
}

_SECRET: Final = answer("The secret.", "WebhookDefaultSecret")
_OTHERS: Final = refusal("Others change it at the same time.")
GET_SECRET: Final[Responses] = {200: _SECRET, 409: _OTHERS, 503: DOWN}
ROTATE_SECRET: Final[Responses] = {**_BODY, 200: _SECRET, 409: _OTHERS}
GET_SIGNED_RESULT: Final[Responses] = {
    **{status: told for status, told in GET_RESULT.items() if status != 404},
    400: refusal("A part of the link is missing."),
    403: refusal("This is no link of ours, or not all of it."),
    410: refusal("The link has expired, or the result is kept no longer."),
    429: refusal("Results are fetched too fast.", RETRY_AFTER),
}
