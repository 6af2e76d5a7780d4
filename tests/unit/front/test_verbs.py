"""`run`, `jobs`, `models` and `status` against a gateway that answers as each test says."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from penstock.cli import main
from penstock.gateway_client import LONGEST_PAUSE_S, GatewayClient
from penstock.status.reading import LANE_DEPTH
from schemas.errors import ModelNotFound, PenstockError, QueueUnavailable
from tests.unit.front.answering import MODEL, URL, VERSION, Gateway, Invoke, Json, documents

JOB = "job_1"


def job(status: str, job_id: str = JOB, **fields: Any) -> Json:
    done = status in {"succeeded", "failed", "canceled"}
    return {
        "id": job_id,
        "status": status,
        "done": done,
        "model": "digits",
        "model_version": "2",
        "created_at": "2030-01-01T00:00:00Z",
        "completed_at": "2030-01-01T00:00:01.5Z" if done else None,
        "expires_at": "2030-01-01T00:10:00Z",
        "result": None,
        "error": None,
        "metadata": {},
        **fields,
    }


def problem(error: PenstockError, headers: dict[str, str] | None = None) -> httpx.Response:
    told = {"code": error.code, "message": error.message, "type": error.type, "param": error.param}
    return httpx.Response(error.status, json={"error": told}, headers=headers)


def test_run_shows_the_answer_of_the_model(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes["POST /v1/models/digits/jobs"] = job("succeeded", result={"predictions": [0.25]})
    ran = invoke("run", "digits", "1,2,3")
    assert (ran.exit_code, ran.stdout) == (0, "0.25\n")
    sent = gateway.requests[-1]
    assert json.loads(sent.content) == {"instances": [[1, 2, 3]]}
    assert sent.headers["prefer"] == "wait=25"
    assert sent.headers["idempotency-key"].startswith("run-")
    assert sent.url.params["timeout_s"] == "60"


def test_run_reads_files_and_standard_input(gateway: Gateway, invoke: Invoke, tmp_path: Path) -> None:
    gateway.routes["POST /v1/models/digits/versions/2/jobs"] = job("succeeded", result={"predictions": [1]})
    row = tmp_path / "row.csv"
    row.write_text("1,2,3\n")
    assert invoke("run", "digits", row, "--version", "2").exit_code == 0
    assert invoke("run", "digits", "-", "--version", "2", given=b"[4,5,6]").exit_code == 0
    sent = [json.loads(request.content) for request in gateway.requests if request.method == "POST"]
    assert sent == [{"instances": [[1, 2, 3]]}, {"instances": [[4, 5, 6]]}]
    assert "GET /v1/models/digits" not in gateway.asked()


def test_run_waits_for_a_slow_job(gateway: Gateway, invoke: Invoke) -> None:
    waited = {"preference-applied": "wait=25"}
    gateway.routes["POST /v1/models/digits/jobs"] = httpx.Response(202, json=job("queued"), headers=waited)
    gateway.routes[f"GET /v1/jobs/{JOB}"] = [
        httpx.Response(200, json=job("running"), headers=waited),
        job("succeeded", result={"predictions": ["seven"]}),
    ]
    assert invoke("run", "digits", "1,2,3").stdout == "seven\n"


def test_a_submit_that_is_lost_is_sent_again_as_the_same_job(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes["POST /v1/models/digits/jobs"] = [
        problem(QueueUnavailable("Kafka is away"), {"retry-after": "0"}),
        job("succeeded", result={"predictions": [1]}),
    ]
    ran = invoke("run", "digits", "1,2,3")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "1\n", "waiting: Kafka is away\n")
    keys = {each.headers["idempotency-key"] for each in gateway.requests if each.method == "POST"}
    assert len(keys) == 1


def test_a_job_that_fails_is_one_line_and_with_json_the_whole_job_too(gateway: Gateway, invoke: Invoke) -> None:
    error = {"code": "inference_failed", "message": "no such row", "type": "x", "param": None}
    gateway.routes["POST /v1/models/digits/jobs"] = job("failed", error=error)
    ran = invoke("run", "digits", "1,2,3")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (1, "", "Error: job_1 failed: inference_failed: no such row\n")
    ran = invoke("run", "digits", "1,2,3", "--json")
    assert ran.exit_code == 1
    assert documents(ran)[0]["error"] == error


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["digits", "missing.txt"], "missing.txt: No such file or directory, and the model takes no text"),
        (["digits", "/"], "/: Is a directory"),
        (["digits", "1,2\n3"], "1,2 3: line 2 has 1 values, and the first line 2"),
        (["broken", "1,2,3"], "no version of broken is served: no name"),
    ],
)
def test_an_input_that_cannot_be_sent_is_told_in_a_line(
    gateway: Gateway, invoke: Invoke, arguments: list[str], says: str
) -> None:
    ran = invoke("run", *arguments)
    assert (ran.exit_code, ran.stderr) == (1, f"Error: {says}\n")
    assert not [request for request in gateway.requests if request.method == "POST"]


def test_an_unknown_model_is_told_in_the_gateways_words(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes["GET /v1/models/letters"] = problem(ModelNotFound("there is no model 'letters'", param="model"))
    assert invoke("run", "letters", "1").stderr == "Error: there is no model 'letters'\n"


def test_jobs_are_listed_page_by_page_up_to_the_limit(gateway: Gateway, invoke: Invoke) -> None:
    first = [job("succeeded", f"job_{number}") for number in range(100)]
    second = [job("queued", f"job_{number}", notice="no worker serves it") for number in range(100, 150)]
    gateway.routes["GET /v1/jobs"] = [
        {"data": first, "has_more": True, "next_after": "job_99"},
        {"data": [], "has_more": True, "next_after": "job_99x"},
        {"data": second, "has_more": False, "next_after": None},
    ]
    ran = invoke("jobs", "list", "--all", "--model", "digits", "--status", "queued")
    head, *lines = ran.stdout.splitlines()
    assert head.split() == ["JOB", "STATUS", "MODEL", "CREATED", "TOOK", "ERROR"]
    assert len(lines) == 150
    assert lines[-1].endswith("no worker serves it")
    assert gateway.asked() == [
        "GET /v1/jobs?status=queued&model=digits&limit=100",
        "GET /v1/jobs?status=queued&model=digits&limit=100&after=job_99",
        "GET /v1/jobs?status=queued&model=digits&limit=100&after=job_99x",
    ]


def test_a_list_that_is_cut_says_so_and_json_is_a_job_a_line(gateway: Gateway, invoke: Invoke) -> None:
    jobs = [job("succeeded", f"job_{number}") for number in range(3)]
    gateway.routes["GET /v1/jobs"] = {"data": jobs, "has_more": True, "next_after": "job_2"}
    ran = invoke("jobs", "list", "--limit", "2", "--json")
    assert [each["id"] for each in documents(ran)] == ["job_0", "job_1"]
    assert ran.stderr == "there are more: raise --limit, or give --all\n"
    assert gateway.asked() == ["GET /v1/jobs?limit=3"]


def test_no_jobs_are_told_beside_an_empty_output(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes["GET /v1/jobs"] = {"data": [], "has_more": False, "next_after": None}
    ran = invoke("jobs", "list")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "", "no jobs\n")


def test_a_job_is_shown_with_its_result(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes[f"GET /v1/jobs/{JOB}"] = job("succeeded", result={"predictions": ["seven"]}, metadata={"order": 17})
    lines = invoke("jobs", "get", JOB).stdout.splitlines()
    facts = dict(line.split(None, 1) for line in lines[: lines.index("")])
    assert (facts["status"], facts["model"], facts["took"], facts["metadata"]) == (
        "succeeded",
        "digits/2",
        "1.50 s",
        "order=17",
    )
    assert lines[-1] == "seven"


@pytest.mark.parametrize(("ends", "code"), [(["succeeded"], 0), (["succeeded", "failed"], 1), (["canceled"], 1)])
def test_waiting_ends_with_0_only_if_all_jobs_succeeded(
    gateway: Gateway, invoke: Invoke, ends: list[str], code: int
) -> None:
    for number, status in enumerate(ends):
        gateway.routes[f"GET /v1/jobs/job_{number}"] = job(status, f"job_{number}")
    ran = invoke("jobs", "wait", *(f"job_{number}" for number in range(len(ends))), "--json")
    assert ran.exit_code == code
    assert [each["status"] for each in documents(ran)] == ends


def test_canceling_says_how_each_job_stands_and_ends_with_1_if_one_had_ended(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes["POST /v1/jobs/job_1/cancel"] = job("canceled")
    gateway.routes["POST /v1/jobs/job_2/cancel"] = job("succeeded", "job_2")
    ran = invoke("jobs", "cancel", "job_1")
    assert (ran.exit_code, ran.stdout) == (0, "job_1 canceled\n")
    ran = invoke("jobs", "cancel", "job_1", "job_2")
    assert (ran.exit_code, ran.stdout) == (1, "job_1 canceled\njob_2 succeeded\n")


def test_models_are_listed_with_what_could_not_be_loaded_and_why(invoke: Invoke) -> None:
    assert invoke("models", "list").stdout.splitlines() == [
        "MODEL   VERSION      STATE    REASON",
        "digits  2 (default)  serving",
        "digits  3            refused  model.onnx: no such file",
        "broken               refused  no name",
    ]
    assert [each["id"] for each in documents(invoke("models", "list", "digits", "--json"))] == ["digits"]


@pytest.mark.parametrize(("verb", "more"), [("load", "; no worker has announced it so far"), ("unload", "")])
def test_a_version_is_loaded_and_unloaded(gateway: Gateway, invoke: Invoke, verb: str, more: str) -> None:
    gateway.routes[f"POST /v1/models/digits/versions/1:{verb}"] = {
        "id": "digits/1",
        "state": f"{verb}ed",
        "announced": False,
    }
    ran = invoke("models", verb, "digits", "1")
    assert ran.stdout == f"digits/1 is to be {verb}ed{more}\n"
    assert documents(invoke("models", verb, "digits", "1", "--json"))[0]["id"] == "digits/1"


METRICS = """# TYPE penstock_gateway_lane_depth_records gauge
penstock_gateway_lane_depth_records{lane="live",model="digits",version="2"} 3.0
penstock_gateway_lane_depth_records{lane="bulk",model="digits",version="2"} 12.0
penstock_gateway_lane_depth_records{lane="bulk",model="digits",version="3"} 4.0
"""


def test_status_tells_what_is_wrong_first_and_ends_with_1(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes |= {
        "GET /readyz": httpx.Response(503, json={"ready": False, "checks": {"kafka": "away", "postgres": "ok"}}),
        "GET /metrics": httpx.Response(200, text=METRICS),
    }
    ran = invoke("status")
    assert ran.exit_code == 1
    lines = ran.stdout.splitlines()
    assert lines[:5] == [
        "not right:",
        "  gateway is not ready: kafka: away",
        "  digits/3 could not be loaded: model.onnx: no such file",
        "  digits/3 is served by no worker (refused), and 4 jobs wait for it",
        "  broken could not be loaded: no name",
    ]
    assert lines[-3:] == [
        "digits  2 (default)  serving     3    12",
        "digits  3            refused           4  model.onnx: no such file",
        "broken               refused              no name",
    ]


def test_status_as_json_is_one_object(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes |= {
        "GET /readyz": {"ready": True, "checks": {"kafka": "ok"}, "slower": {"redis": "away: polls take longer"}},
        "GET /metrics": httpx.Response(200, text=METRICS),
        "GET /v1/models": {"data": [{**MODEL, "version_states": MODEL["version_states"][:1]}]},
    }
    ran = invoke("status", "--json")
    (told,) = documents(ran)
    assert ran.exit_code == 1
    assert told["ok"] is False
    assert told["problems"] == [{"what": "gateway", "message": "is slower: redis: away: polls take longer"}]
    assert told["versions"][0] == {
        "model": "digits",
        "version": "2",
        "default": True,
        "state": "serving",
        "reason": None,
        "live_records": 3,
        "bulk_records": 12,
    }
    gateway.routes["GET /readyz"] = {"ready": True, "checks": {"kafka": "ok"}, "slower": {}}
    ran = invoke("status", "--json")
    assert (ran.exit_code, documents(ran)[0]["ok"]) == (0, True)


@pytest.mark.parametrize("answer", [httpx.ConnectError("refused"), httpx.Response(200, text="<html>")])
def test_status_of_nobody_says_so(gateway: Gateway, invoke: Invoke, answer: Any) -> None:
    gateway.routes = dict.fromkeys(("GET /readyz", "GET /metrics", "GET /v1/models"), answer)
    ran = invoke("status")
    assert ran.exit_code == 1
    assert "  gateway does not answer at http://gateway: " in ran.stdout
    assert "it is what PENSTOCK_GATEWAY_URL names" in ran.stdout


def test_an_answer_that_is_none_of_ours_is_told_in_a_line(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes["GET /v1/models"] = httpx.Response(200, text="<html>")
    ran = invoke("models", "list")
    assert ran.exit_code == 1
    assert ran.stderr.startswith("Error: the server's answer is not what a gateway answers: ")
    gateway.routes["GET /v1/models"] = {"surprise": 1}
    ran = invoke("models", "list")
    assert ran.exit_code == 1
    assert ran.stderr == (
        "Error: the server's answer is not what a gateway answers: Object missing required field `data`\n"
    )


ENDED = job("succeeded", result={"predictions": [1.0]})
NOT_OURS: list[Any] = [
    {},
    {"data": 5, "has_more": False, **job("succeeded", result=5)},
    {"data": [5], "has_more": False},
    {"data": [{}], "has_more": False, **job("succeeded", result={"predictions": 5})},
    {"data": [{**ENDED, "created_at": 5}], "has_more": False, **ENDED, "metadata": [1]},
    {"data": [{"id": "../x y\n"}], "has_more": False, **ENDED, "created_at": "2030-01-01T00:00:00"},
    {"data": [], "has_more": True, "next_after": None},
    {"data": [], "has_more": True, "next_after": "job_2"},
    {"data": [{"id": "m"}], "has_more": False, **ENDED, "error": 5},
    {"result": {"outputs": [{"name": "y", "shape": [-1], "data": [1]}]}, **job("succeeded")},
    httpx.Response(200, text="[" * 100_000),
    httpx.Response(200, text='{"data":' + "[" * 100_000),
]


@pytest.mark.parametrize("answer", NOT_OURS)
@pytest.mark.parametrize(
    "command", [["jobs", "list"], ["jobs", "get", JOB], ["models", "list", "digits"], ["models", "load", "digits", "2"]]
)
def test_whatever_answers_a_command_ends_with_a_line(
    gateway: Gateway, invoke: Invoke, command: list[str], answer: Any
) -> None:
    paths = ("GET /v1/jobs", f"GET /v1/jobs/{JOB}", "GET /v1/models/digits", "POST /v1/models/digits/versions/2:load")
    gateway.routes = dict.fromkeys(paths, answer)
    ran = invoke(*command)
    assert ran.exception is None or isinstance(ran.exception, SystemExit), ran.exception
    if ran.exit_code:
        assert ran.stderr.startswith("Error: ")
        assert ran.stderr.count("\n") == 1


@pytest.mark.parametrize("command", [["jobs", "get", JOB], ["status"]])
def test_an_answer_that_cannot_be_unpacked_is_told_in_a_line(
    gateway: Gateway, invoke: Invoke, command: list[str]
) -> None:
    for path in ("readyz", "metrics", "v1/models", f"v1/jobs/{JOB}"):
        packed = httpx.Response(200, stream=httpx.ByteStream(b"none"), headers={"content-encoding": "gzip"})
        gateway.routes[f"GET /{path}"] = packed
    ran = invoke(*command)
    assert (ran.exit_code, isinstance(ran.exception, SystemExit)) == (1, True)


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/readyz", {"ready": False, "checks": [1]}),
        ("/readyz", httpx.Response(200, text="[" * 100_000)),
        ("/v1/models", {"data": [{"id": "m"}]}),
        ("/v1/models", {"data": [5]}),
        ("/metrics", httpx.Response(200, text="penstock_gateway_lane_depth_records 1\n")),
        ("/metrics", httpx.Response(200, text=f'{LANE_DEPTH}{{model="m",version="1",lane="live"}} NaN\n')),
    ],
)
def test_status_survives_whatever_answers(gateway: Gateway, invoke: Invoke, path: str, answer: Any) -> None:
    gateway.routes["GET /readyz"] = {"ready": True, "checks": {}}
    gateway.routes[f"GET {path}"] = answer
    ran = invoke("status", "--json")
    assert ran.exception is None or isinstance(ran.exception, SystemExit)
    (seen,) = documents(ran)
    assert seen["roles"][0]["state"] == ("no answer" if path == "/readyz" else "ready")


@pytest.mark.parametrize("path", ["/readyz", "/v1/models", "/metrics"])
def test_status_waits_for_a_trickling_answer_no_longer_than_for_none(
    gateway: Gateway, invoke: Invoke, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    class Trickle(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            while True:
                yield b" "
                await asyncio.sleep(0)

    monkeypatch.setattr("penstock.status.reading.TIMEOUT_S", 0.05)
    gateway.routes["GET /readyz"] = {"ready": True, "checks": {}}
    gateway.routes[f"GET {path}"] = httpx.Response(200, stream=Trickle())
    (seen,) = documents(invoke("status", "--json"))
    assert seen["roles"][0]["state"] == ("no answer" if path == "/readyz" else "ready")


TO_A_TERMINAL = "\x1b]0;title\x07\x9b31m"


@pytest.mark.parametrize("command", [["jobs", "cancel", JOB], ["jobs", "cancel", JOB, "--json"], ["jobs", "get", JOB]])
def test_a_servers_words_cannot_speak_to_the_terminal(gateway: Gateway, invoke: Invoke, command: list[str]) -> None:
    failed = job("failed", error={"code": TO_A_TERMINAL, "message": TO_A_TERMINAL})
    refused = httpx.Response(400, json={"error": {"code": "x", "message": TO_A_TERMINAL, "type": "invalid"}})
    for answer in (failed, refused):
        gateway.routes |= dict.fromkeys((f"POST /v1/jobs/{JOB}/cancel", f"GET /v1/jobs/{JOB}"), answer)
        ran = invoke(*command)
        assert not {"\x1b", "\x07", "\x9b"} & set(ran.output)


def test_what_is_wanted_of_a_version_cannot_speak_to_the_terminal(gateway: Gateway, invoke: Invoke) -> None:
    wanted = {"id": TO_A_TERMINAL, "state": TO_A_TERMINAL, "announced": True}
    gateway.routes["POST /v1/models/digits/versions/2:load"] = wanted
    assert not {"\x1b", "\x07", "\x9b"} & set(invoke("models", "load", "digits", "2").output)


def test_a_list_of_jobs_goes_out_as_it_comes_in(gateway: Gateway, invoke: Invoke) -> None:
    big = job("queued", metadata={"number": 2**70})
    page = {"data": [big], "has_more": True, "next_after": JOB}
    gateway.routes["GET /v1/jobs"] = [page, {"surprise": 1}]
    ran = invoke("jobs", "list", "--all", "--json")
    assert (ran.exit_code, documents(ran)) == (1, [big])


@pytest.mark.parametrize(
    "text", ["\xb2", "9" * 400, "Mon, 01 Jan 9999 00:00:00 -0000", "Mon, 01 Jan 0001 00:00:00 -0000"]
)
def test_a_server_may_not_have_a_command_wait_for_ever(text: str) -> None:
    answer = httpx.Response(503, headers=[(b"retry-after", text.encode("latin-1"))])
    asked = GatewayClient([], URL).retry_after_s(answer)
    assert asked is None or 0 <= asked <= LONGEST_PAUSE_S


@pytest.mark.parametrize("command", [["status"], ["status", "--json"], ["jobs", "get", JOB]])
def test_a_password_in_the_gateways_address_is_not_shown(gateway: Gateway, command: list[str]) -> None:
    gateway.routes = dict.fromkeys(("GET /readyz", f"GET /v1/jobs/{JOB}"), httpx.ReadError("reset"))
    ran = CliRunner(env={"PENSTOCK_GATEWAY_URL": "http://me:hunter22@gateway"}).invoke(main, command)
    assert ran.exit_code == 1
    assert "http://me@gateway" in ran.output
    assert "hunter22" not in ran.output


@pytest.mark.parametrize(
    "url", ["http://a b", "http://exam\x01ple", "http://xn--a..b", "http://[::1", "http://h:99999"]
)
def test_an_address_that_nobody_can_have_is_a_wrong_option(url: str) -> None:
    ran = CliRunner().invoke(main, ["jobs", "list", "--gateway", url])
    assert (ran.exit_code, isinstance(ran.exception, SystemExit)) == (2, True)


def test_env_prints_what_a_shell_takes(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    from penstock.running import Running  # noqa: PLC0415 - of this test alone

    found = Running(
        pid=1,
        started_at=datetime(2030, 1, 1, tzinfo=UTC),
        data_dir="/d",
        logs="/d/logs",
        gateway_url=URL,
        health={},
        environ={"PENSTOCK_REDIS_URL": "redis://:a'b@h:1/0"},
    )
    monkeypatch.setattr("penstock.env.running_over", lambda _: found)
    assert invoke("env").stdout.splitlines() == [
        "# Secret: passwords stand here.",
        "export PENSTOCK_REDIS_URL='redis://:a'\"'\"'b@h:1/0'",
    ]
    assert documents(invoke("env", "--json")) == [{"PENSTOCK_REDIS_URL": "redis://:a'b@h:1/0"}]


def test_an_argument_that_is_no_text_is_told_in_a_line(gateway: Gateway, invoke: Invoke) -> None:
    text = [{"name": "x", "datatype": "BYTES", "shape": [-1]}]
    gateway.routes["GET /v1/models/digits/versions/2"] = {**VERSION, "inputs": text}
    ran = invoke("run", "digits", "caf\udce9")
    assert (ran.exit_code, ran.stderr.count("\n")) == (1, 1)
    assert "text in UTF-8" in ran.stderr
