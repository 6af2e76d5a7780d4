"""What a client does where a server is away, or refuses."""

import httpx
import pytest

from penstock.client.steps import Ask, Pause, Steps, asked
from schemas.errors import InvalidInput, LaneFull, PenstockError, RateLimited, Refused, RequestInFlight, Unavailable

GET = Ask("GET", "/v1/jobs/a")
OURS = {"error": {"code": "invalid_input", "message": "x is FP32", "type": "invalid_request_error", "param": "x"}}


def problem(status: int, code: str, **headers: str) -> httpx.Response:
    body = {"error": {"code": code, "message": "told", "type": "t", "param": None}}
    return httpx.Response(status, json=body, headers=headers)


def played(steps: Steps[httpx.Response], *answers: httpx.Response | Exception) -> tuple[httpx.Response, list[float]]:
    """What comes of these answers, and how long was paused between them."""
    pauses, left = [], list(answers)
    try:
        step = next(steps)
        while True:
            if isinstance(step, Pause):
                pauses.append(step.seconds)
                step = steps.send(None)
                continue
            answer = left.pop(0)
            step = steps.throw(answer) if isinstance(answer, Exception) else steps.send(answer)
    except StopIteration as end:
        assert not left
        return end.value, pauses


@pytest.mark.parametrize(
    "passing",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout(""),
        httpx.Response(502),
        problem(503, "unavailable"),
        problem(429, "lane_full"),
        problem(429, "rate_limited"),
        problem(409, "request_in_flight"),
        problem(503, "outcome_unknown"),
    ],
)
def test_what_passes_is_tried_again(passing: httpx.Response | Exception) -> None:
    answer, pauses = played(asked(GET, 60), passing, passing, httpx.Response(200, json={}))
    assert answer.status_code == 200
    assert pauses == [0.1, 0.2]


def test_a_server_says_how_long_to_wait() -> None:
    _, pauses = played(asked(GET, 60), problem(503, "unavailable", **{"retry-after": "7"}), httpx.Response(200))
    assert pauses == [7.0]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(400, json=OURS), InvalidInput),
        (httpx.Response(418, json={"error": {"code": "teapot", "message": "no", "type": "t", "param": None}}), Refused),
        (httpx.Response(404, text="<html>"), Refused),
        (httpx.Response(500, text="\ufffd"), Refused),
    ],
)
def test_what_does_not_pass_is_raised_at_once(answer: httpx.Response, error: type[PenstockError]) -> None:
    with pytest.raises(error):
        played(asked(GET, 60), answer)


def test_errors_have_the_words_and_the_field_of_the_server() -> None:
    with pytest.raises(InvalidInput, match="x is FP32") as refused:
        played(asked(GET, 60), httpx.Response(400, json=OURS))
    assert (refused.value.param, refused.value.code) == ("x", "invalid_input")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (problem(429, "lane_full"), LaneFull),
        (problem(429, "rate_limited"), RateLimited),
        (problem(409, "request_in_flight"), RequestInFlight),
        (httpx.ConnectError("refused"), Unavailable),
    ],
)
def test_patience_has_an_end(answer: httpx.Response | Exception, error: type[PenstockError]) -> None:
    with pytest.raises(error):
        played(asked(GET, 0), answer)


def test_what_cannot_be_sent_again_is_not() -> None:
    with pytest.raises(Unavailable):
        played(asked(Ask("POST", "/v1/files", repeatable=False), 60), httpx.ConnectError("refused"))
