"""What the OpenAPI document says of the routes of models."""

from typing import Final

from gateway.openapi import (
    APPLIED,
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
    parameter,
    refusal,
)
from schemas.route_documents import MAX_EXCLUDED, MAX_SHADOW_ROWS_PER_S, MAX_SHADOWS
from schemas.routes import WHOLE

_VERSION: Final[Doc] = {"type": "string"}
REQUESTS: Final[Doc] = {
    "RouteRequest": only(
        ["versions"],
        {
            "versions": {
                "type": "object",
                "minProperties": 1,
                "additionalProperties": {"type": "integer", "minimum": 0, "maximum": WHOLE},
                "description": f"The share of each version in basis points (hundredths of a percent): {WHOLE} in all.",
                "examples": [{"1": 9000, "2": 1000}],
            },
            "default": {
                "type": ["string", "null"],
                "description": "Gets the jobs whose version is not there. If not given, the one labeled `stable`, else "
                "the one with the largest share.",
            },
            "labels": {
                "type": "object",
                "additionalProperties": _VERSION,
                "examples": [{"stable": "1", "canary": "2"}],
            },
            "sticky": only(
                [],
                {
                    "source": {
                        "type": "string",
                        "default": "sticky_key",
                        "description": "Where a job's sticky key is read: `sticky_key`, `header:<name>`, "
                        "`metadata:<path>` or `record_key`.",
                    }
                },
            ),
            "salt": {
                "type": ["string", "null"],
                "minLength": 1,
                "maxLength": 64,
                "description": "Another one deals all keys anew. If not given, that of the revision before, at first "
                "the model's name.",
            },
            "shadow": {
                "type": "array",
                "maxItems": MAX_SHADOWS,
                "items": only(
                    ["version", "rate"],
                    {
                        "version": _VERSION,
                        "rate": {"type": "number", "minimum": 0, "maximum": 1},
                        "rows_per_s": {
                            "type": "number",
                            "exclusiveMinimum": 0,
                            "maximum": MAX_SHADOW_ROWS_PER_S,
                            "default": 50,
                            "description": "What each worker copies at most.",
                        },
                        "device_share": {
                            "type": "number",
                            "exclusiveMinimum": 0,
                            "maximum": 1,
                            "default": 0.2,
                            "description": "What copies may take of a device's time.",
                        },
                        "exclude_tenants": {
                            "type": "array",
                            "maxItems": MAX_EXCLUDED,
                            "items": {"type": "string"},
                            "description": "Nothing is copied of theirs.",
                        },
                    },
                    description="Runs a copy of this share of the live jobs that come by a share of the route, which "
                    "no caller sees; its answers are compared.",
                ),
            },
            "pins": {
                "type": "array",
                "items": only(
                    ["version"],
                    {
                        "version": _VERSION,
                        "tenant": {"type": ["string", "null"]},
                        "key": {"type": ["string", "null"]},
                    },
                    description="All jobs of a tenant, or all of a sticky key: exactly one of the two.",
                ),
            },
            "rescue": {"type": "boolean", "default": False},
            "taken_back": {
                "type": "array",
                "items": _VERSION,
                "description": "Versions without a share whose waiting jobs go to another, unless a client named them. "
                "A canary that loses its share, and who was taken back before, is one by itself.",
            },
        },
        title="RouteRequest",
        description="How a model's traffic is to split among its versions.",
    ),
    "RollbackRequest": only(
        ["revision"],
        {"revision": {"type": "integer", "minimum": 1}},
        title="RollbackRequest",
        description="The revision to go back to.",
    ),
}

_IF_MATCH: Final = parameter(
    "If-Match", 'The revision that is to be replaced, as `"7"`; `*` for any. Without it the route is created.'
)
_IF_STILL: Final = parameter(
    "If-Match", 'Only if this revision still stands, as `"7"`; `*` for any, where there is one.'
)
_PREFER: Final = parameter("Prefer", "`wait=N`: answer once every gateway and router has it, N (60) s later at most.")
_TAG: Final = {"ETag": header("The revision in quotes, for `If-Match`.")}

WITH_ROUTE: Final[Doc] = {"parameters": [_IF_MATCH, _PREFER], "requestBody": body("RouteRequest")}
WITH_REVISION: Final[Doc] = {"parameters": [_IF_STILL, _PREFER], "requestBody": body("RollbackRequest")}
IF_THERE: Final[Doc] = {"parameters": [_IF_STILL, _PREFER]}

_BAD: Final = refusal("A member, header or parameter breaks its rule; `error.param` names it.")
_NO_ROUTE: Final = refusal("There is no such model, or it has no route.")
_OTHERWISE: Final = refusal("What stands is not what `If-Match` expects; the message says what does.")
_ROLLED_OUT: Final = refusal("A rollout has the route; the message names it.")

LIST_ROUTES: Final[Responses] = {200: answer("A page of routes.", "RouteList"), 400: _BAD, 503: DOWN}
GET_ROUTE: Final[Responses] = {200: answer("The route.", "Route", _TAG), 404: _NO_ROUTE, 503: DOWN}
GET_HISTORY: Final[Responses] = {
    200: answer("A page of revisions.", "RouteHistory"),
    400: _BAD,
    404: _NO_ROUTE,
    503: DOWN,
}
PUT_ROUTE: Final[Responses] = {
    200: answer("The route as it stands now.", "Route", {**_TAG, **APPLIED}),
    400: _BAD,
    404: NO_MODEL,
    409: refusal(
        "A rollout has the route, and the message names it; or versions of other inputs would share the jobs."
    ),
    412: _OTHERWISE,
    413: BODY_TOO_LARGE,
    415: BODY_ENCODED,
    503: DOWN,
}
ROLLBACK: Final[Responses] = {**PUT_ROUTE, 404: refusal("There is no such model, or no such revision.")}
DELETE_ROUTE: Final[Responses] = {
    200: answer("The revision that took the route away.", "RouteRevision", APPLIED),
    400: _BAD,
    404: _NO_ROUTE,
    409: _ROLLED_OUT,
    412: _OTHERWISE,
    503: DOWN,
}
