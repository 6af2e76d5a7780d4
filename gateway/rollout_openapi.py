"""What the OpenAPI document says of rollouts."""

from typing import Final

from gateway.openapi import BODY_ENCODED, BODY_TOO_LARGE, DOWN, NO_MODEL, Doc, Responses, answer, body, header, refusal

WITH_PLAN: Final[Doc] = {"requestBody": body("RolloutRequest")}

_BAD: Final = refusal("A member or parameter breaks its rule; `error.param` names it.")
_NONE: Final = refusal("There is no such rollout.")
_SENSELESS: Final = refusal(
    "In the rollout's state this makes no sense, and the message says what does; or no worker serves its version, or "
    "that takes other inputs."
)

START: Final[Responses] = {
    200: answer("The model's rollout by the same plan, which runs already.", "Rollout"),
    201: answer("The rollout has begun.", "Rollout", {"Location": header("The rollout's URL.")}),
    400: _BAD,
    404: NO_MODEL,
    409: refusal(
        "Another rollout of the model is open; or no worker serves the version, it takes other inputs, or has all the "
        "traffic already."
    ),
    413: BODY_TOO_LARGE,
    415: BODY_ENCODED,
    503: DOWN,
}
LIST_ROLLOUTS: Final[Responses] = {200: answer("A page of rollouts.", "RolloutList"), 400: _BAD, 503: DOWN}
GET_ROLLOUT: Final[Responses] = {200: answer("The rollout, with its newest events.", "Rollout"), 404: _NONE, 503: DOWN}
GET_EVENTS: Final[Responses] = {
    200: answer("A page of events, with what the judge had counted where that is kept.", "RolloutEventList"),
    400: _BAD,
    404: _NONE,
    503: DOWN,
}
CHANGE: Final[Responses] = {
    200: answer("The rollout as it is now.", "Rollout"),
    400: _BAD,
    404: _NONE,
    409: _SENSELESS,
    503: DOWN,
}
