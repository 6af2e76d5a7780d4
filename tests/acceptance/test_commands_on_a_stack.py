"""The commands that talk to a running stack, which they find by its data directory."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from click.testing import CliRunner, Result

from penstock.cli import main
from penstock.running import running_in
from penstock.stack import Stack
from schemas.topics import Topics
from tests.acceptance import digits, kafka
from tests.acceptance.client import NO_AUTHORITIES
from tests.acceptance.repository import EXAMPLES
from tests.waiting import eventually_sync

Invoke = Callable[..., Result]
SEVEN = EXAMPLES / "digits" / "images" / "7.png"


@pytest.fixture
def invoke(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """A command, by its words, over the stack's data directory; no variable of ours is set."""
    for name in os.environ:
        if name.startswith("PENSTOCK_"):
            monkeypatch.delenv(name)

    def invoked(*words: object, given: bytes = b"") -> Result:
        arguments = [*map(str, words), "--data-dir", str(stack.services.data_dir.path)]
        return CliRunner(env={"NO_COLOR": "1"}).invoke(main, arguments, input=given)

    return invoked


def succeeded(ran: Result) -> list[str]:
    assert ran.exit_code == 0, ran.output
    return ran.stdout.splitlines()


def documents(ran: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in succeeded(ran)]


def test_a_picture_is_run_and_its_classes_are_shown(invoke: Invoke) -> None:
    lines = succeeded(invoke("run", "digits", SEVEN))
    assert lines[:2] == ["label  7", "probabilities"]
    assert lines[2].split()[0] == "7"
    assert lines[2].endswith("%")


def test_each_form_of_an_input_is_run(invoke: Invoke, tmp_path: Path) -> None:
    image = digits.images(1)
    (label,) = digits.labels(image)
    array, rows = tmp_path / "image.npy", tmp_path / "edges.csv"
    np.save(array, image[0].astype(np.float64))
    rows.write_text("length,width,height\n1,2,3\n4,5,6\n")

    assert f"label  {label}" in succeeded(invoke("run", "digits", array))
    assert f"label  {label}" in succeeded(invoke("run", "digits", "-", given=json.dumps(image[0].tolist()).encode()))
    assert succeeded(invoke("run", "volume", rows)) == ["ROW  VALUE", "  1  6", "  2  120"]
    assert succeeded(invoke("run", "volume", '{"length": 1, "width": 2, "height": 3}')) == ["6"]
    assert succeeded(invoke("run", "echo", "some text, as it is")) == ["some text, as it is"]
    assert succeeded(invoke("run", "tickets", '[{"ticket": 7, "turns": 1}]')) == ["7"]


def test_what_the_gateway_refuses_is_one_line(invoke: Invoke) -> None:
    ran = invoke("run", "digits", "[[1, 2], [3, 4]]")
    assert ran.exit_code == 1
    assert ran.stderr.startswith("Error: instances has shape [1, 2, 2]; the model takes [-1, 8, 8]")
    assert len(ran.stderr.splitlines()) == 1


def test_a_job_is_listed_read_awaited_and_no_longer_to_be_canceled(invoke: Invoke) -> None:
    (job,) = documents(invoke("run", "echo", "once", "--json"))
    assert job["result"] == {"predictions": ["once"]}
    assert job["id"] in [each["id"] for each in documents(invoke("jobs", "list", "--model", "echo", "--json"))]
    assert any(line.startswith(job["id"]) for line in succeeded(invoke("jobs", "list", "--status", "succeeded")))
    assert documents(invoke("jobs", "get", job["id"], "--json")) == [job]
    assert succeeded(invoke("jobs", "wait", job["id"], "--timeout", "30"))[-1] == "once"
    ran = invoke("jobs", "cancel", job["id"])
    assert (ran.exit_code, ran.stdout) == (1, f"{job['id']} succeeded\n")


def test_what_answers_were_worth_is_told_by_commands_and_kafka_and_versions_are_compared_by_it(
    invoke: Invoke, stack: Stack, topics: Topics, tmp_path: Path
) -> None:
    first, second = (documents(invoke("run", "echo", f"answer {number}", "--json"))[0] for number in (1, 2))
    assert succeeded(invoke("feedback", first["id"], "--label", "answer 1"))[0].endswith("label answer 1, as predicted")
    told = json.dumps({"job_id": second["id"], "reward": 0.25}).encode()
    kafka.send(stack.kafka_bootstrap_servers, topics.feedback, told)
    versions = f"{first['model_version']},other"
    url = f"{stack.gateway_url}/v1/models/echo/compare?versions={versions}"

    def counted() -> int:  # not by a command: it is asked within an event loop, and a command has its own
        found = httpx.get(url, verify=NO_AUTHORITIES, trust_env=False).json()["versions"][0]
        return int(found["outcomes"]["bad"]["count"])

    assert eventually_sync(counted, 30) == 1
    page = tmp_path / "report.html"
    shown = succeeded(invoke("compare", "echo", "--versions", versions, "--since", "1h", "--html", page))
    assert shown[1].split()[0] == "VERSION"
    assert "<svg" in page.read_text("utf-8")


def test_a_job_that_waits_is_canceled(invoke: Invoke, parked: str, tmp_path: Path) -> None:
    ran = invoke("run", parked, "never", "--timeout", "1")
    assert ran.exit_code == 1
    assert "failed: deadline_exceeded" in ran.stderr
    (tmp_path / "one.jsonl").write_text('{"instances": ["a"]}\n')
    (waiting,) = documents(invoke("submit", tmp_path / "one.jsonl", "--model", parked, "--no-wait"))
    assert invoke("jobs", "wait", waiting["id"], "--timeout", "0.1").exit_code == 124
    assert succeeded(invoke("jobs", "cancel", waiting["id"])) == [f"{waiting['id']} canceled"]


def test_a_version_is_unloaded_and_loaded_again(invoke: Invoke, stack: Stack) -> None:
    def state() -> str:  # not by a command: it is asked within an event loop, and a command has its own
        model = httpx.get(f"{stack.gateway_url}/v1/models/squares", verify=NO_AUTHORITIES, trust_env=False).json()
        assert "version_states" in model, model  # for a moment neither the catalog nor a report has it
        (version,) = model["version_states"]
        return str(version["state"])

    eventually_sync(lambda: state() == "serving")
    try:
        assert succeeded(invoke("models", "unload", "squares", "1")) == ["squares/1 is to be unloaded"]
        eventually_sync(lambda: state() == "unloaded")
    finally:
        succeeded(invoke("models", "load", "squares", "1"))
    eventually_sync(lambda: state() == "serving")
    assert any(line.split()[:2] == ["squares", "1"] for line in succeeded(invoke("models", "list")))


def test_status_shows_every_role_and_the_versions_served(invoke: Invoke, stack: Stack) -> None:
    told = json.loads(invoke("status", "--json").stdout)
    assert {role["name"]: role["state"] for role in told["roles"]} == dict.fromkeys(stack.roles, "ready")
    assert {"digits", "volume", "echo"} <= {each["model"] for each in told["versions"]}
    assert told["pid"] == os.getpid()
    shown = invoke("status").stdout
    assert f"gateway  {stack.gateway_url}" in shown
    assert all(len(line) < 200 for line in shown.splitlines())


def test_dead_letters_are_found_where_the_stack_has_its_kafka(invoke: Invoke) -> None:
    assert invoke("dlq", "list", "--job", "no-such-job").stderr == "no dead letters\n"


@pytest.mark.parametrize("to", [[], ["--to", "kafka"]])
def test_a_file_of_jobs_finds_the_gateway_and_kafka(invoke: Invoke, to: list[str]) -> None:
    ran = invoke("submit", EXAMPLES / "digits" / "jobs.jsonl", "--model", "digits", "--json", *to)
    assert {line["status"] for line in documents(ran)} == {"succeeded"}
    assert json.loads(ran.stderr)["succeeded"] == 10


def test_what_env_prints_makes_commands_work_elsewhere(invoke: Invoke, stack: Stack, tmp_path: Path) -> None:
    block = tmp_path / "env"
    block.write_text(invoke("env").stdout)
    assert "# Secret" in block.read_text()
    command = '. ./env && "$0" -m penstock dlq list --limit 1 && "$0" -m penstock models list digits --json'
    ran = subprocess.run(
        ["sh", "-ec", command, sys.executable],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(EXAMPLES.parent)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    assert '"id":"digits"' in ran.stdout


def test_what_runs_is_written_for_its_user_alone_with_every_address(stack: Stack) -> None:
    found = running_in(stack.services.data_dir.path)
    assert found is not None
    assert found.gateway_url == stack.gateway_url
    assert found.health.keys() == stack.roles.keys()
    addresses = {stack.kafka_bootstrap_servers, stack.postgres_dsn, stack.redis_url}
    assert addresses <= set(found.environ.values())
