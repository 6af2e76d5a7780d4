"""The command from its options to its exit status, against a small HTTP server of our own."""

import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from signal import SIGINT
from threading import Event, Thread
from typing import Any

import pytest
from click.testing import CliRunner, Result

from penstock.submit.command import submit
from tests.waiting import eventually_sync

NOBODY = "http://127.0.0.1:9"  # the discard port: nothing listens there


class SmallGateway(ThreadingHTTPServer):
    """Answers every job at once with its own input as the result; holds back those whose input is `[]`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.keys: list[str] = []
        self.held = Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: SmallGateway

    def do_GET(self) -> None:
        if self.path.startswith("/v1/jobs/"):
            self.server.held.set()
            self._answer(200, {"id": "job_held", "status": "queued"}, {"retry-after": "60"})
        else:
            self._answer(200, {"object": "list", "data": []})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.keys.append(self.headers["idempotency-key"])
        instances = body["input"]["instances"]
        if self.headers["prefer"] == "respond-async" or instances == []:
            self._answer(202, {"id": "job_held", "status": "queued"})
        elif instances == ["bad"]:
            error = {"code": "invalid_input", "message": "not a number", "type": "x", "param": "instances"}
            self._answer(400, {"status": 400, "error": error})
        else:
            self._answer(200, {"id": f"job_{len(self.server.keys)}", "status": "succeeded", "result": body})

    def _answer(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def gateway() -> Iterator[SmallGateway]:
    with SmallGateway() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def jobs(tmp_path: Path) -> Path:
    return tmp_path / "jobs.jsonl"


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(submit, [*map(str, arguments)])


def command(*arguments: object) -> list[str]:
    """A process of its own, which is what signals and pipes need."""
    program = "from penstock.submit.command import submit; submit()"
    return [sys.executable, "-c", program, *map(str, arguments)]


def test_all_succeeded_is_exit_status_0_and_the_file_holds_a_result_a_line(
    gateway: SmallGateway, jobs: Path, tmp_path: Path
) -> None:
    jobs.write_text('{"instances": [1], "custom_id": "a"}\n{"model": "other", "input": {"instances": [2]}}\n')
    output = tmp_path / "results.jsonl"

    ended = invoke(jobs, "--to", gateway.url, "--model", "digits", "--output", output)

    assert ended.exit_code == 0, ended.stderr
    assert ended.stdout == ""
    results = {result["line"]: result for result in read(output)}
    assert (results[1]["custom_id"], results[1]["status"]) == ("a", "succeeded")
    assert results[1]["result"]["model"] == "digits"
    assert results[2]["result"]["model"] == "other"
    assert "2 jobs in" in ended.stderr
    assert "2 succeeded" in ended.stderr


def test_a_wrong_line_is_told_with_its_number_and_exit_status_1(gateway: SmallGateway, jobs: Path) -> None:
    jobs.write_text('{"instances": [1]}\n\nnonsense\n{"instances": ["bad"]}\n')

    ended = invoke(jobs, "--to", gateway.url, "--model", "digits")

    assert ended.exit_code == 1
    assert "line 3: invalid_input: not valid JSON" in ended.stderr
    assert "line 4: invalid_input: not a number (instances)" in ended.stderr
    assert sorted(json.loads(line)["status"] for line in ended.stdout.splitlines()) == [
        "rejected",
        "rejected",
        "succeeded",
    ]


def test_standard_input_and_standard_output_serve_as_files(gateway: SmallGateway) -> None:
    ended = subprocess.run(
        command("-", "--to", gateway.url, "--model", "digits"),
        input='{"instances": [1]}\n',
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["line"] == 1


def test_the_same_file_again_uses_the_same_keys_and_another_run_id_others(gateway: SmallGateway, jobs: Path) -> None:
    jobs.write_text('{"instances": [1]}\n')

    for run_id in ([], [], ["--run-id", "again"]):
        assert invoke(jobs, "--to", gateway.url, "--model", "digits", *run_id).exit_code == 0

    first, second, third = gateway.keys
    assert first == second != third


def test_without_waiting_accepted_is_enough(gateway: SmallGateway, jobs: Path) -> None:
    jobs.write_text('{"instances": [1]}\n')

    ended = invoke(jobs, "--to", gateway.url, "--model", "digits", "--no-wait")

    assert ended.exit_code == 0, ended.stderr
    assert json.loads(ended.stdout) == {"line": 1, "custom_id": None, "id": "job_held", "status": "queued"}


def test_ctrl_c_leaves_a_file_of_whole_lines_and_exit_status_130(
    gateway: SmallGateway, jobs: Path, tmp_path: Path
) -> None:
    jobs.write_text('{"instances": [1]}\n{"instances": []}\n')
    output = tmp_path / "results.jsonl"
    running = subprocess.Popen(
        command(jobs, "--to", gateway.url, "--model", "digits", "--output", output),
        stderr=subprocess.PIPE,
        text=True,
    )
    with running:
        assert gateway.held.wait(30)
        eventually_sync(lambda: output.exists() and len(read(output)) == 1)
        running.send_signal(SIGINT)
        _, said = running.communicate(timeout=30)

    assert running.returncode == 130
    assert "the same command again collects the rest" in said
    assert {(result["line"], result["status"]) for result in read(output)} == {(1, "succeeded"), (2, "queued")}


def test_ctrl_c_is_not_held_up_by_a_silent_pipe(gateway: SmallGateway) -> None:
    running = subprocess.Popen(
        command("-", "--to", gateway.url, "--model", "digits"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with running:
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdin.write(b'{"instances": [1]}\n')
        running.stdin.flush()
        assert b"succeeded" in running.stdout.readline()
        running.send_signal(SIGINT)
        assert running.wait(30) == 130


@pytest.mark.parametrize("to", [NOBODY, "kafka://127.0.0.1:9"])
def test_an_address_where_nothing_answers_is_one_clear_line(jobs: Path, to: str) -> None:
    jobs.write_text('{"instances": [1]}\n')

    ended = invoke(jobs, "--to", to, "--model", "digits")

    assert ended.exit_code == 1
    assert "cannot be reached" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--to", "ftp://somewhere"], "must be http://"),
        (["--to", "http://[::1"], "must be http://"),
        (["--to", "http://host:port"], "must be http://"),
        (["--to", "kafka://host:port"], "must be http://"),
        (["--to", "kafka://host:9092,"], "must be http://"),
        (["--to", "kafka://host:9092/topic"], "brokers only"),
        (["--version", "2"], "--version is a version of --model"),
        (["--concurrency", "0"], "0 is not in the range"),
        (["--lane", "fast"], "'fast' is not one of"),
        (["--webhook", "ftp://x"], "must be https://"),
        (["--webhook-events", "completed"], "--webhook-events are events of --webhook"),
        (["--webhook", "https://example.com/", "--webhook-events", "job.done"], "names 'job.done'"),
    ],
)
def test_a_wrong_option_is_exit_status_2(jobs: Path, arguments: list[str], reason: str) -> None:
    jobs.write_text("")

    ended = CliRunner().invoke(submit, [str(jobs), *arguments])

    assert ended.exit_code == 2
    assert reason in ended.output


def test_the_input_is_never_overwritten(jobs: Path) -> None:
    jobs.write_text("{}")

    ended = CliRunner().invoke(submit, [str(jobs), "--output", str(jobs)])

    assert ended.exit_code == 2
    assert "is the input itself" in ended.output
    assert jobs.read_text() == "{}"


@pytest.mark.parametrize("to", [NOBODY, "kafka://127.0.0.1:9"])
def test_a_run_that_reaches_nobody_leaves_the_results_of_an_earlier_one_as_they_are(
    jobs: Path, tmp_path: Path, to: str
) -> None:
    jobs.write_text('{"instances": [1]}\n')
    output = tmp_path / "results.jsonl"
    output.write_text("of an earlier run\n")

    assert invoke(jobs, "--to", to, "--model", "digits", "--output", output).exit_code == 1

    assert sorted(tmp_path.iterdir()) == [jobs, output]
    assert output.read_text() == "of an earlier run\n"


def test_results_of_earlier_runs_are_kept_beside_the_new_ones(
    gateway: SmallGateway, jobs: Path, tmp_path: Path
) -> None:
    output = tmp_path / "results.jsonl"
    said = ""
    for custom_id in ("first", "second", "third"):
        jobs.write_text(f'{{"instances": [1], "custom_id": "{custom_id}"}}\n')
        ended = invoke(jobs, "--to", gateway.url, "--model", "digits", "--output", output)
        assert ended.exit_code == 0, ended.stderr
        said = ended.stderr

    kept = [output.with_name(name) for name in ("results.jsonl.1", "results.jsonl.2", "results.jsonl")]
    assert [read(path)[0]["custom_id"] for path in kept] == ["first", "second", "third"]
    assert f"what stood in {output} before is now in {output}.2" in said.replace("\n", "")


def test_an_output_that_is_no_file_is_written_to_as_it_is(gateway: SmallGateway, jobs: Path) -> None:
    jobs.write_text('{"instances": [1]}\n')
    assert invoke(jobs, "--to", gateway.url, "--model", "digits", "--output", "/dev/null").exit_code == 0


def test_an_output_that_cannot_be_written_is_one_clear_line(gateway: SmallGateway, jobs: Path, tmp_path: Path) -> None:
    jobs.write_text('{"instances": [1]}\n')
    ended = invoke(jobs, "--to", gateway.url, "--model", "digits", "--output", tmp_path / "nowhere" / "results.jsonl")

    assert ended.exit_code == 1
    assert "No such file or directory" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert gateway.keys == [], "nothing was submitted"


def test_a_line_that_is_nested_too_deeply_stops_no_other(gateway: SmallGateway, jobs: Path) -> None:
    deep = "[" * 100_000 + "]" * 100_000
    jobs.write_text(f'{{"instances": [1]}}\n{{"instances": {deep}}}\n{{"input": {deep}}}\n{{"instances": [2]}}\n')
    ended = invoke(jobs, "--to", gateway.url, "--model", "digits")

    assert ended.exit_code == 1
    assert "Traceback" not in ended.stderr
    assert "line 2: invalid_input: nested too deeply" in ended.stderr
    statuses = {line["line"]: line["status"] for line in map(json.loads, ended.stdout.splitlines())}
    assert statuses == {1: "succeeded", 2: "rejected", 3: "rejected", 4: "succeeded"}
