"""`penstock up` as a person uses it: real services, real roles, real signals."""

import asyncio
import json
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGTERM

import httpx
import psutil
import pytest

from tests.acceptance.client import client_of
from tests.integration.embedded.up_process import ROOT, UpProcess, running_up, runs
from tests.unit.models.handlers import write_handler
from tests.unit.models.repositories import write_model
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(180)

SEVEN = (ROOT / "examples" / "digits" / "images" / "7.png").read_bytes()
SUMS = """
class Handler:
    def predict(self, inputs):
        return {"sum": inputs["values"].sum(axis=1) + 1}
"""
# One model, without torch, and who was killed is missed as soon as brokers allow.
QUICK = {"PENSTOCK_WORKER_MODELS": "digits/1", "PENSTOCK_KAFKA_SESSION_TIMEOUT_S": "6"}


@pytest.fixture
def data_path() -> Iterator[Path]:
    """Not below the test runner's directories, which are closed to the account that Postgres runs as under root."""
    with tempfile.TemporaryDirectory(prefix="penstock-test-") as top:
        Path(top).chmod(0o711)
        yield Path(top, "data")


async def submit(url: str) -> dict[str, object]:
    async with client_of(url, timeout_s=30) as client:
        answer = await client.post(
            "/v1/models/digits/jobs", content=SEVEN, headers={"Content-Type": "image/png", "Prefer": "wait=20"}
        )
        assert answer.status_code == httpx.codes.OK, answer.text
        job: dict[str, object] = answer.json()
        return job


async def all_ended(family: list[psutil.Process]) -> None:
    await eventually(lambda: not any(map(runs, family)), 30, what="every process has ended")


def member(up: UpProcess, *words: str) -> psutil.Process:
    """The process of the stack whose command line has these words."""
    (found,) = (process for process in up.family() if runs(process) and set(words) <= set(process.cmdline()))
    return found


async def test_the_second_up_finds_the_jobs_of_the_first_and_leaves_no_process_when_it_is_killed(
    tmp_path: Path, data_path: Path
) -> None:
    options = ("--port", "0", "--data-dir", str(data_path))
    with running_up(tmp_path, *options, variables=QUICK) as first:
        job = await submit(await first.ready())
        assert job["status"] == "succeeded"
        family = first.family()
        assert len(family) > len(["Postgres", "Valkey", "Kafka", "gateway", "router", "worker", "sink", "reaper"])
        first.send(SIGINT)
        assert await first.ends() == 0
        await all_ended(family)
    with running_up(tmp_path, *options, variables=QUICK) as second:
        async with client_of(await second.ready()) as client:
            found = (await client.get(f"/v1/jobs/{job['id']}")).json()
        family = second.family()
        second.send(SIGKILL)
        await all_ended(family)
    assert (found["id"], found["status"], found["result"]) == (job["id"], "succeeded", job["result"])


async def test_what_the_machine_keeps_from_starting_is_told_once_and_tried_until_it_can(
    tmp_path: Path, data_path: Path
) -> None:
    with running_up(tmp_path, "--port", "0", "--data-dir", str(data_path), variables=QUICK) as up:
        url = await up.ready()
        # Given a place that cannot be written to, as on a full disk
        obstacle = data_path / "kafka" / "server.properties"
        obstacle.unlink()
        (obstacle / "in-the-way").mkdir(parents=True)
        member(up, "kafka.Kafka").kill()
        await up.says("Kafka cannot be started: Is a directory")
        # When a role dies meanwhile, it is started again all the same
        member(up, "penstock", "sink").kill()
        await up.says("sink was ended by SIGKILL; starting it again")
        assert up.output.count("Kafka cannot be started") == 1
        # Then all serves as soon as the reason is gone
        (obstacle / "in-the-way").rmdir()
        obstacle.rmdir()
        await up.says("Kafka runs again", timeout_s=60)
        await up.says("sink runs again", timeout_s=60)
        await eventually(lambda: submit(url), 60)
        up.send(SIGINT)
        assert await up.ends() == 0
        assert "Traceback" not in up.output


async def test_two_workers_share_the_load_who_dies_is_started_again_and_a_second_signal_ends_all_at_once(
    tmp_path: Path,
) -> None:
    with running_up(tmp_path, "--port", "0", "--ephemeral", "--workers", "2", variables=QUICK) as up:
        url = await up.ready()
        await up.says("worker-1 |")
        await up.says("worker-2 |")
        jobs = await asyncio.gather(*(submit(url) for _ in range(8)))
        assert {job["status"] for job in jobs} == {"succeeded"}

        workers = [process for process in up.family() if {"penstock", "worker"} <= set(process.cmdline())]
        for process in (*workers, member(up, "penstock", "sink"), member(up, "kafka.Kafka")):
            process.kill()
        for name in ("worker-1", "worker-2", "sink", "Kafka"):
            await up.says(f"{name} was ended by SIGKILL; starting it again in")
            # The group waits for the member it lost until its session is over.
            await up.says(f"{name} runs again", 90)
        assert (await submit(url))["status"] == "succeeded"

        # The role that nobody waited for
        await up.says("keeping the windows", 60)
        before = up.output.count("keeping the windows")
        member(up, "penstock", "rollout-controller").kill()
        await eventually(lambda: up.output.count("keeping the windows") > before, 60, "the controller comes back")

        family = up.family()
        up.send(SIGINT)
        await up.says("stopping")
        up.send(SIGINT)
        assert await up.ends(10) == 0
        await all_ended(family)


async def test_it_says_what_it_serves_and_leaves_out_and_what_it_says_to_paste_works(tmp_path: Path) -> None:
    models = tmp_path / "models"
    mine = write_handler(models, {"handler.py": SUMS}, name="mine")
    write_model(models, "platform: none", name="odd")
    options = ("--port", "0", "--ephemeral", "--models", str(models), "--trust", "code")
    with running_up(tmp_path, *options, variables={"PENSTOCK_KAFKA_SESSION_TIMEOUT_S": "6"}) as up:
        await up.ready()
        await up.says("\ntry:\n")
        assert "\n  mine/1  served\n" in up.output
        assert f"\n  odd     left out: {models}/odd/model.yaml: name: is missing\n" in up.output
        assert re.search(
            r"\n  metrics  .*/metrics  gateway\n( +http://\S+/metrics  (router|worker|sink)\n){3}", up.output
        )

        line = up.output.partition("\ntry:\n")[2].splitlines()[0]
        pasted = await asyncio.create_subprocess_shell(line, stdout=asyncio.subprocess.PIPE)
        said, _ = await pasted.communicate()
        assert json.loads(said)["result"]["predictions"] == [2.0]

        shutil.rmtree(mine.parent)
        await up.says("model is no longer served")
        up.send(SIGINT)
        assert await up.ends() == 0


@pytest.mark.parametrize("moment", ["Postgres", "gateway"])
async def test_a_signal_while_it_starts_stops_what_has_begun(tmp_path: Path, moment: str) -> None:
    def begun(up: UpProcess) -> bool:
        wanted = {"Postgres": "postgres", "gateway": "gateway"}[moment]
        return any(wanted in " ".join(process.cmdline()) for process in up.family() if runs(process))

    with running_up(tmp_path, "--port", "0", "--ephemeral", variables=QUICK) as up:
        await eventually(lambda: begun(up), 30, what=f"{moment} has begun")
        family = up.family()
        up.send(SIGTERM)
        assert await up.ends() == 0
        await all_ended(family)
        assert "Traceback" not in up.output


async def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with running_up(tmp_path, "--port", str(port), "--ephemeral") as up:
            assert await up.ends() == 1
            assert up.output == f"Error: port {port} is in use: choose another with --port\n"


async def test_a_directory_in_use_is_one_line(tmp_path: Path, data_path: Path) -> None:
    options = ("--port", "0", "--data-dir", str(data_path))
    second_scratch = tmp_path / "second"
    second_scratch.mkdir()
    with running_up(tmp_path, *options, variables=QUICK) as first:
        await eventually((data_path / "lock").exists)
        await eventually((data_path / "lock").read_text)
        with running_up(second_scratch, *options) as second:
            assert await second.ends() == 1
            assert second.output == (
                f"Error: {data_path} is in use by another `penstock up` (pid {first.process.pid})\n"
            )


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        (
            {"PENSTOCK_JAVA": "/no/java"},
            "Error: PENSTOCK_JAVA is /no/java, which is no program\n",
        ),
        (
            {"PENSTOCK_CACHE_DIR": "{empty}", "PENSTOCK_MAVEN_REPOSITORY_URL": "http://127.0.0.1:{closed}/maven"},
            (
                "Connection refused. Kafka is fetched once; PENSTOCK_MAVEN_REPOSITORY_URL may name another repository, "
                "PENSTOCK_KAFKA_BOOTSTRAP_SERVERS another Kafka\n"
            ),
        ),
        (
            {"PENSTOCK_POSTGRES_DSN": "postgresql://127.0.0.1:{closed}/jobs"},
            "Error: tables and topics cannot be made ready: the database is not available",
        ),
    ],
)
async def test_what_stands_in_the_way_is_one_line(
    tmp_path: Path, open_cache: Path, variables: dict[str, str], line: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]
    filled = {name: value.format(empty=open_cache, closed=closed) for name, value in variables.items()}
    with running_up(tmp_path, "--port", "0", "--ephemeral", variables=filled) as up:
        assert await up.ends(60) == 1
        errors = [text for text in up.output.splitlines(keepends=True) if not text.startswith("penstock |")]
        assert len(errors) == 1
        assert line in errors[0]


@pytest.fixture
def open_cache() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="penstock-cache-") as top:
        Path(top).chmod(0o755)
        yield Path(top)


@pytest.mark.skipif(os.getuid() != 0, reason="only root runs Postgres as somebody else")
async def test_under_root_a_directory_that_nobody_may_not_enter_is_one_line(tmp_path: Path, data_path: Path) -> None:
    data_path.parent.chmod(0o700)
    with running_up(tmp_path, "--port", "0", "--data-dir", str(data_path)) as up:
        assert await up.ends() == 1
        assert up.output.count("\n") == 1
        assert "nobody may not enter" in up.output
