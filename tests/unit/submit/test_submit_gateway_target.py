import json
from collections.abc import Callable

import httpx
import msgspec
import pytest

from penstock.gateway_client import GatewayClient
from penstock.patience import Patience, TargetLost
from penstock.submit.gateway_target import GatewayTarget, idempotency_key
from penstock.submit.outcome import Ending, LineStatus
from producers.bulk.lines import JobLine
from schemas.errors import (
    InvalidInput,
    LaneFull,
    ModelNotFound,
    PenstockError,
    QueueUnavailable,
    Refused,
    RequestInFlight,
)
from schemas.topics import LaneClass
from tests.unit.submit.fake_gateway import FakeGateway, job, problem

WAITED = {"preference-applied": "wait=25"}
FIVE_PAST = 300.0


class Slept:
    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


@pytest.fixture
def slept() -> Slept:
    return Slept()


@pytest.fixture
def target_of(slept: Slept) -> Callable[..., GatewayTarget]:
    def make(gateway: FakeGateway, *, wait: bool = True, run_id: str = "run") -> GatewayTarget:
        patience = Patience(sleep=slept, clock=lambda: sum(slept.seconds))
        client = GatewayClient([gateway.client()], "http://gateway/", wall_clock=lambda: FIVE_PAST)
        return GatewayTarget(client, run_id, patience, wait=wait)

    return make


TargetOf = Callable[[FakeGateway], GatewayTarget]


def line(number: int = 1, text: str = '{"instances":[1]}') -> JobLine:
    return JobLine(number=number, model="digits", input=msgspec.Raw(text.encode()), lane=LaneClass.BULK)


async def ending_of(target: GatewayTarget) -> Ending:
    submission = target.submission(line())
    await submission.send()
    return await submission.ending()


async def test_a_quick_job_is_one_request(target_of: TargetOf) -> None:
    gateway = FakeGateway(job("succeeded", headers=WAITED, result={"predictions": [3]}))

    ending = await ending_of(target_of(gateway))

    assert ending.status is LineStatus.SUCCEEDED
    assert json.loads(bytes(ending.result)) == {"predictions": [3]}
    (request,) = gateway.requests
    assert (request.method, str(request.url)) == ("POST", "http://gateway/v1/jobs")
    assert request.headers["prefer"] == "wait=25"
    assert gateway.bodies() == [{"model": "digits", "version": None, "lane": "bulk", "input": {"instances": [1]}}]


async def test_a_slow_job_is_collected_by_long_poll(target_of: TargetOf, slept: Slept) -> None:
    gateway = FakeGateway(
        job("queued", 202, WAITED),
        job("running", headers=WAITED),
        job("failed", headers=WAITED, error={"code": "inference_failed", "message": "no", "type": "x", "param": None}),
    )

    ending = await ending_of(target_of(gateway))

    assert ending.status is LineStatus.FAILED
    assert json.loads(bytes(ending.error))["code"] == "inference_failed"
    polls = gateway.requests[1:]
    assert {(poll.method, str(poll.url)) for poll in polls} == {("GET", "http://gateway/v1/jobs/job_1")}
    assert {poll.headers["prefer"] for poll in polls} == {"wait=25"}
    assert slept.seconds == []


async def test_a_server_that_knows_no_long_poll_is_asked_as_often_as_it_likes(
    target_of: TargetOf, slept: Slept
) -> None:
    gateway = FakeGateway(
        job("queued", 202),
        job("queued", headers={"retry-after": "4"}),
        job("queued"),
        job("succeeded"),
    )

    await ending_of(target_of(gateway))

    assert slept.seconds == [4.0, 1.0]


async def test_without_waiting_the_answer_is_asked_for_at_once(target_of: Callable[..., GatewayTarget]) -> None:
    gateway = FakeGateway(job("queued", 202))

    assert await target_of(gateway, wait=False).submission(line()).send() == "job_1"

    assert gateway.requests[0].headers["prefer"] == "respond-async"


@pytest.mark.parametrize(
    ("refusal", "pause_s"),
    [
        (problem(LaneFull("full"), {"retry-after": "3"}), 3.0),
        (problem(QueueUnavailable("away"), {"retry-after": "2"}), 2.0),
        (problem(QueueUnavailable("away"), {"retry-after": "Thu, 01 Jan 1970 00:05:09 GMT"}), 9.0),
        (problem(RequestInFlight("busy"), {"retry-after": "1"}), 1.0),
        (httpx.Response(502, html="<h1>Bad Gateway</h1>", headers={"retry-after": "5"}), 5.0),
    ],
)
async def test_a_passing_refusal_is_tried_again_after_the_wait_it_asks_for_under_the_same_key(
    target_of: TargetOf, slept: Slept, refusal: httpx.Response, pause_s: float
) -> None:
    gateway = FakeGateway(refusal, job("succeeded"))

    assert (await ending_of(target_of(gateway))).status is LineStatus.SUCCEEDED

    assert slept.seconds == [pause_s]
    first, second = (request.headers["idempotency-key"] for request in gateway.requests)
    assert first == second


async def test_a_lost_connection_is_tried_again(target_of: TargetOf) -> None:
    gateway = FakeGateway(httpx.ConnectError("refused"), httpx.ReadTimeout(""), job("succeeded"))

    assert (await ending_of(target_of(gateway))).status is LineStatus.SUCCEEDED


async def test_a_server_that_stays_away_ends_the_run(target_of: TargetOf) -> None:
    with pytest.raises(TargetLost, match="http://gateway cannot be reached: refused"):
        await ending_of(target_of(FakeGateway(httpx.ConnectError("refused"))))


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        (problem(InvalidInput("ragged", param="instances")), "invalid_input", "ragged"),
        (problem(ModelNotFound("no model digits")), "model_not_found", "no model digits"),
        (httpx.Response(500, text="oops"), "http_error", "HTTP 500 Internal Server Error"),
        (httpx.Response(307, headers={"location": "/"}), "http_error", "HTTP 307 Temporary Redirect"),
        (httpx.Response(200, text="hello"), "not_a_job", "the server's answer is no job"),
    ],
)
async def test_a_refusal_is_told_in_the_servers_words(
    target_of: TargetOf, answer: httpx.Response, code: str, message: str
) -> None:
    with pytest.raises(Refused) as caught:
        await target_of(FakeGateway(answer)).submission(line()).send()

    body = caught.value.body()
    assert body.code == code
    assert message in body.message


async def test_a_job_that_the_server_has_forgotten_is_an_error_of_its_line(target_of: TargetOf) -> None:
    target = target_of(FakeGateway(job("queued", 202), problem(ModelNotFound("gone"))))
    submission = target.submission(line())
    await submission.send()

    with pytest.raises(PenstockError, match="gone"):
        await submission.ending()


def test_a_key_is_the_same_only_for_the_same_line_of_the_same_run() -> None:
    key = idempotency_key("run", 1, b"body")

    assert key == idempotency_key("run", 1, b"body")
    assert key not in {
        idempotency_key("other", 1, b"body"),
        idempotency_key("run", 2, b"body"),
        idempotency_key("run", 1, b"other"),
        idempotency_key("run1", 1, b"body"),
    }
    assert len(key) <= 255
