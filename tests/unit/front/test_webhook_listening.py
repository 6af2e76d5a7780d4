"""`penstock webhooks listen` against a gateway that answers as each test says, and a receiver to forward to."""

import asyncio
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from penstock.webhooks import listener
from penstock.webhooks.listening import SECRET_VARIABLE, SHOWN_TO_OTHERS
from runtime.clock import now_utc
from schemas.signing import check_signature, new_secret, signed_headers
from tests.unit.front.answering import Gateway, Invoke, Json, documents
from tests.unit.front.test_webhook_verbs import ENDPOINTS, ID, endpoint

SECRET = new_secret()
URL = "http://localhost:3000/hooks"
CLAIM, ACK = f"POST {ENDPOINTS}/{ID}/events:claim", f"POST {ENDPOINTS}/{ID}/events:ack"


def leased(number: int, secret: str = SECRET, **data: Any) -> Json:
    job = {"id": f"job_{number}", "model": "digits", "model_version": "2", **data}
    body = json.dumps({"id": f"msg_{number}", "type": "job.succeeded", "data": job})
    headers = signed_headers(f"msg_{number}", now_utc(), body.encode(), [secret]) | {"content-type": "application/json"}
    return {"id": f"msg_{number}", "lease": f"lease-{number}", "headers": headers, "body": body}


def claims(gateway: Gateway, *pages: list[Json] | Exception) -> None:
    """Of the endpoint that is made for it, which goes in the end."""
    gateway.routes[f"POST {ENDPOINTS}"] = endpoint(mode="pull", url=None, signing_secret=SECRET)
    gateway.routes[f"DELETE {ENDPOINTS}/{ID}"] = {"id": ID, "deleted": True}
    gateway.routes[CLAIM] = [page if isinstance(page, Exception) else {"data": page} for page in pages]
    gateway.routes[ACK] = {"done": [], "lost": []}


def acknowledged(gateway: Gateway) -> list[str]:
    bodies = [json.loads(each.content) for each in gateway.requests if each.url.path.endswith(":ack")]
    return [f"{event['id']} {event['lease']}" for body in bodies for event in body["events"]]


@pytest.fixture
def receive(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[httpx.Request]]:
    """Has what is forwarded answered so, in turn; returns what came."""

    def receiving(*answers: int | Exception) -> list[httpx.Request]:
        left, came = list(answers), list[httpx.Request]()

        def answer(request: httpx.Request) -> httpx.Response:
            came.append(request)
            found = left.pop(0)
            if isinstance(found, Exception):
                raise found
            return httpx.Response(found)

        client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
        monkeypatch.setattr(listener, "clients_for", lambda _, connections: [client])
        return came

    return receiving


def test_events_are_shown_and_acknowledged_and_its_endpoint_goes_with_it(
    gateway: Gateway, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "POLL_PAUSE_S", 0.01)
    claims(gateway, [], [leased(1), leased(2)], [leased(3)])
    ran = invoke("webhooks", "listen", "--count", "3")
    assert ran.exit_code == 0
    assert ran.stderr == f"listening as {ID}\n"
    assert [line.split()[1:] for line in ran.stdout.splitlines()] == [
        ["job.succeeded", f"job_{number}", "digits/2"] for number in (1, 2, 3)
    ]
    assert acknowledged(gateway) == ["msg_1 lease-1", "msg_2 lease-2", "msg_3 lease-3"]
    assert json.loads(gateway.requests[0].content)["mode"] == "pull"
    assert gateway.asked()[-1] == f"DELETE {ENDPOINTS}/{ID}"


def test_no_more_is_claimed_than_is_still_wanted(gateway: Gateway, invoke: Invoke) -> None:
    claims(gateway, [leased(1)], [leased(2)])
    assert invoke("webhooks", "listen", "--count", "2").exit_code == 0
    limits = [json.loads(each.content)["limit"] for each in gateway.requests if each.url.path.endswith(":claim")]
    assert limits == [2, 1]


def test_a_program_gets_the_event_and_its_headers(gateway: Gateway, invoke: Invoke) -> None:
    claims(gateway, [leased(1, note="é\x9b")])
    ran = invoke("webhooks", "listen", "--count", "1", "--json")
    (shown,) = documents(ran)
    assert (shown["event"]["data"]["note"], shown["forwarded"]) == ("é\x9b", None)
    assert shown["headers"]["webhook-id"] == "msg_1"
    assert "\x9b" not in ran.stdout


def test_what_a_body_holds_cannot_speak_to_the_terminal(gateway: Gateway, invoke: Invoke) -> None:
    claims(gateway, [leased(1, model="a\x1b[2J")])
    assert "a?[2J/2" in invoke("webhooks", "listen", "--count", "1").stdout


def test_only_what_was_taken_by_the_receiver_is_acknowledged(
    gateway: Gateway, invoke: Invoke, receive: Callable[..., list[httpx.Request]]
) -> None:
    claims(gateway, [leased(1), leased(2), leased(3)], [leased(2), leased(3)])
    came = receive(204, 500, httpx.ConnectError("connection refused"), 200, 302, 200)
    gateway.routes[CLAIM].append({"data": [leased(3)]})
    ran = invoke("webhooks", "listen", "--count", "3", "--forward-to", URL)
    assert ran.exit_code == 0
    told = [line.partition("-> ")[2] for line in ran.stdout.splitlines()]
    assert told == [
        "204",
        "500; again in 30 s",
        "connection refused; again in 30 s",
        "200",
        "302; again in 30 s",
        "200",
    ]
    assert acknowledged(gateway) == ["msg_1 lease-1", "msg_2 lease-2", "msg_3 lease-3"]
    assert (str(came[0].url), came[0].headers["webhook-id"]) == (URL, "msg_1")
    assert f"signed with {SECRET}" in ran.stderr
    check_signature(came[0].headers, came[0].content, [SECRET], now_utc())
    assert json.loads(came[0].content)["data"]["id"] == "job_1"


def test_what_is_forwarded_is_signed_with_the_secret_that_the_receiver_knows(
    gateway: Gateway, invoke: Invoke, receive: Callable[..., list[httpx.Request]]
) -> None:
    claims(gateway, [leased(1)])
    came, own = receive(200), new_secret()
    ran = invoke(
        "webhooks", "listen", "--count", "1", "--forward-to", URL, "--secret-file", "-", given=f"{own}\n".encode()
    )
    assert (ran.exit_code, ran.stderr) == (0, f"listening as {ID}, forwarding to {URL}\n")
    (request,) = came
    check_signature(request.headers, request.content, [own], now_utc())
    assert (request.headers["webhook-id"], request.headers["content-type"]) == ("msg_1", "application/json")


def test_the_secret_in_a_file_stands_before_that_of_the_environment_and_nothing_warns_of_either(
    gateway: Gateway,
    invoke: Invoke,
    receive: Callable[..., list[httpx.Request]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    in_file, in_environment = new_secret(), new_secret()
    (tmp_path / "secret").write_text(f"{in_file}\n")
    monkeypatch.setenv(SECRET_VARIABLE, in_environment)
    for options, signs in (([], in_environment), (["--secret-file", tmp_path / "secret"], in_file)):
        claims(gateway, [leased(1)])
        came = receive(200)
        ran = invoke("webhooks", "listen", "--count", "1", "--forward-to", URL, *options)
        assert (ran.exit_code, "warning" in ran.stderr) == (0, False)
        check_signature(came[0].headers, came[0].content, [signs], now_utc())


@pytest.mark.parametrize("held", [b"", b"hunter22", b"\xff", b"whsec_" + b"a" * 10_000])
def test_a_file_that_holds_no_secret_is_refused_and_not_shown(
    gateway: Gateway, invoke: Invoke, tmp_path: Path, held: bytes
) -> None:
    (tmp_path / "secret").write_bytes(held)
    ran = invoke("webhooks", "listen", "--secret-file", tmp_path / "secret")
    assert (ran.exit_code, gateway.requests) == (2, [])
    assert "--secret-file" in ran.stderr
    assert not held or held.decode(errors="replace") not in ran.stderr
    assert invoke("webhooks", "listen", "--secret-file", tmp_path / "none").exit_code == 2


def test_a_secret_is_named_in_one_way(gateway: Gateway, invoke: Invoke) -> None:
    ran = invoke("webhooks", "listen", "--secret", SECRET, "--secret-file", "-", given=SECRET.encode())
    assert (ran.exit_code, gateway.requests) == (2, [])


def test_an_event_that_another_secret_signed_is_not_taken(
    gateway: Gateway, invoke: Invoke, receive: Callable[..., list[httpx.Request]]
) -> None:
    claims(gateway, [leased(1, new_secret())])
    came = receive()
    ran = invoke("webhooks", "listen", "--count", "1", "--forward-to", URL)
    assert ran.exit_code == 1
    assert f"is the secret that of {ID}?" in ran.stderr.splitlines()[-1]
    assert (ran.stdout, came, acknowledged(gateway)) == ("", [], [])
    assert gateway.asked()[-1] == f"DELETE {ENDPOINTS}/{ID}"


def test_an_endpoint_that_is_named_stays_and_is_checked_by_the_secret_that_is_given(
    gateway: Gateway, invoke: Invoke
) -> None:
    claims(gateway, [leased(1)], [leased(2)])
    gateway.routes[f"GET {ENDPOINTS}/{ID}"] = endpoint(mode="pull", url=None)
    ran = invoke("webhooks", "listen", "--endpoint", ID, "--count", "1", "--secret", SECRET)
    assert (ran.exit_code, ran.stderr) == (0, f"warning: {SHOWN_TO_OTHERS}\nlistening as {ID}\n")
    ran = invoke("webhooks", "listen", "--endpoint", ID, "--count", "1")
    assert "signatures are not checked, for want of a secret: --secret-file" in ran.stderr
    assert not {f"POST {ENDPOINTS}", f"DELETE {ENDPOINTS}/{ID}"} & set(gateway.asked())
    gateway.routes[f"GET {ENDPOINTS}/{ID}"] = endpoint()
    ran = invoke("webhooks", "listen", "--endpoint", ID)
    assert (ran.exit_code, "is sent to, not pulled from" in ran.stderr) == (1, True)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_quietly_and_takes_its_endpoint_away(
    gateway: Gateway, invoke: Invoke, number: signal.Signals, code: int
) -> None:
    claims(gateway, [])
    answer = gateway.answer
    # As in a terminal: what was started in the background, as tests may be, is deaf to it.
    heard = signal.signal(signal.SIGINT, signal.default_int_handler)

    async def interrupted(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith(":claim"):
            signal.raise_signal(number)
            await asyncio.Event().wait()  # a long poll
        return answer(request)

    gateway.answer = interrupted  # type: ignore[assignment,method-assign]
    try:
        ran = invoke("webhooks", "listen")
    finally:
        signal.signal(signal.SIGINT, heard)
    assert (ran.exit_code, ran.stdout, ran.stderr) == (code, "", f"listening as {ID}\n")
    assert gateway.asked()[-1] == f"DELETE {ENDPOINTS}/{ID}"


def test_an_endpoint_that_cannot_be_taken_away_is_told(gateway: Gateway, invoke: Invoke) -> None:
    claims(gateway, [leased(1)])
    gateway.routes[f"DELETE {ENDPOINTS}/{ID}"] = httpx.ConnectError("connection refused")
    ran = invoke("webhooks", "listen", "--count", "1")
    assert ran.exit_code == 0
    assert f"penstock webhooks delete {ID} removes it" in ran.stderr.splitlines()[-1]
