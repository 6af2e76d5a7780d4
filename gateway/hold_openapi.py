"""What the OpenAPI document says of holds."""

from typing import Final

from gateway.openapi import (
    BODY_ENCODED,
    BODY_TOO_LARGE,
    DOWN,
    NO_MODEL,
    Doc,
    Responses,
    answer,
    body,
    header,
    only,
    refusal,
)
from schemas.hold_documents import MAX_REASON_CHARACTERS
from schemas.holds import Action
from schemas.names import MAX_TENANT
from schemas.topics import LaneClass

_TEXT: Final[Doc] = {"type": ["string", "null"]}
REQUESTS: Final[Doc] = {
    "HoldRequest": only(
        ["action"],
        {
            "action": {
                "type": "string",
                "enum": [action.value for action in Action],
                "description": "`hold`: what is meant waits, new jobs as well. `refuse`: new jobs are not taken. "
                "`end`: what waits now ends as canceled.",
            },
            "model": _TEXT,
            "version": {**_TEXT, "description": "Needs its model."},
            "tenant": {**_TEXT, "minLength": 1, "maxLength": MAX_TENANT},
            "lane": {"type": ["string", "null"], "enum": [*(lane.value for lane in LaneClass), None]},
            "reason": {"type": "string", "maxLength": MAX_REASON_CHARACTERS, "description": "Shown with the jobs."},
        },
        title="HoldRequest",
        description="Which jobs are meant: those that agree with all that is given, of model, version, tenant and lane "
        "at least one.",
    ),
}

WITH_HOLD: Final[Doc] = {"requestBody": body("HoldRequest")}

_BAD: Final = refusal("A member or parameter breaks its rule; `error.param` names it.")
_NO_HOLD: Final = refusal("There is no such hold, or it was released.")

ADD: Final[Responses] = {
    200: answer("With `dry_run`: how many jobs it would be about.", "HoldCount"),
    201: answer("The hold stands.", "Hold", {"Location": header("The hold's URL.")}),
    400: _BAD,
    404: NO_MODEL,
    409: refusal("There are too many holds."),
    413: BODY_TOO_LARGE,
    415: BODY_ENCODED,
    503: DOWN,
}
LIST: Final[Responses] = {200: answer("All holds.", "HoldList"), 503: DOWN}
GET: Final[Responses] = {200: answer("The hold.", "Hold"), 404: _NO_HOLD, 503: DOWN}
RELEASE: Final[Responses] = {200: answer("The hold that was released.", "Hold"), 400: _BAD, 404: _NO_HOLD, 503: DOWN}
AUDIT: Final[Responses] = {200: answer("A page of entries.", "AuditList"), 400: _BAD, 503: DOWN}
