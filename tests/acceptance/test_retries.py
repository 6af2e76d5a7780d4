"""A job that fails for a reason that passes is tried again; one whose reason stays is given up, kept, and replayed."""

import asyncio
import hashlib
import os
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import httpx
import pytest

from penstock.stack import Stack
from schemas.topics import Lane, LaneClass, Topics
from tests.acceptance import jobs, kafka
from tests.acceptance.extra_roles import extra_role
from tests.waiting import eventually

LANE = Lane("patience", "1", LaneClass.LIVE)

# Fails for each ticket as often as it asks for: even ones as a service would that is away, odd ones in our words.
HANDLER = """
from collections import Counter

from workers.inference.handler import TransientFailure


class Handler:
    def load(self, context):
        self.tries = Counter()

    def predict(self, inputs):
        for ticket, failures in zip(inputs["ticket"].tolist(), inputs["failures"].tolist()):
            self.tries[ticket] += 1
            if self.tries[ticket] <= failures:
                raise TransientFailure("not now") if ticket % 2 else ConnectionError("10.0.0.1 does not answer")
        return {"tries": [self.tries[ticket] for ticket in inputs["ticket"].tolist()]}
"""
MODEL_YAML = """
name: patience
platform: python_handler
trust: code
sha256: {{handler.py: "{digest}"}}
max_batch_size: 8
input: [{{name: ticket, data_type: TYPE_INT64, dims: []}}, {{name: failures, data_type: TYPE_INT64, dims: []}}]
output: [{{name: tries, data_type: TYPE_INT64, dims: []}}]
"""


@pytest.fixture
async def patience(stack: Stack, environ: dict[str, str], tmp_path: Path) -> AsyncIterator[None]:
    """A worker that serves the model."""
    (tmp_path / "patience" / "1").mkdir(parents=True)
    (tmp_path / "patience" / "1" / "handler.py").write_text(HANDLER)
    digest = hashlib.sha256(HANDLER.encode()).hexdigest()
    (tmp_path / "patience" / "model.yaml").write_text(MODEL_YAML.format(digest=digest))
    trusting = environ | {"PENSTOCK_WORKER_TRUST": "code"}
    async with extra_role(stack, "worker", "trusting", models=tmp_path, environ=trusting):
        yield


async def submit(http: httpx.AsyncClient, ticket: int, failures: int, **more: float) -> str:
    async def taken() -> httpx.Response | None:
        body = {"model": "patience", "input": {"instances": [{"ticket": ticket, "failures": failures}]}, **more}
        answer = await http.post("/v1/jobs", json=body)
        return answer if answer.status_code == 202 else None

    answer = await eventually(taken, 20, "the gateway knows the model")
    assert answer is not None
    job_id: str = jobs.accepted(answer)["id"]
    return job_id


@pytest.mark.usefixtures("patience")
async def test_a_job_that_fails_twice_for_a_reason_that_passes_has_one_result(
    http: httpx.AsyncClient, stack: Stack, topics: Topics
) -> None:
    for ticket in (1, 2):
        job_id = await submit(http, ticket, failures=2)
        job = await jobs.succeeded(http, job_id)
        assert job["result"] == {"predictions": [3]}
        (result,) = await kafka.results_of(stack.kafka_bootstrap_servers, topics.results, job_id)
        assert result.status == "succeeded"


@pytest.mark.usefixtures("patience")
async def test_a_job_whose_deadline_comes_before_its_next_attempt_ends_at_once_and_says_so(
    http: httpx.AsyncClient,
) -> None:
    job_id = await submit(http, 11, failures=99, timeout_s=1)
    job = await jobs.ended(http, job_id)
    assert (job["status"], job["error"]["code"]) == ("failed", "transient_failure")
    assert "would have been tried again" in job["error"]["message"]


@pytest.mark.usefixtures("patience")
async def test_a_job_that_is_given_up_is_kept_and_can_be_replayed(
    http: httpx.AsyncClient, stack: Stack, topics: Topics, environ: dict[str, str]
) -> None:
    # Given a job that fails once more than it is tried
    old_id = await submit(http, 22, failures=4)
    job = await jobs.ended(http, old_id)
    assert (job["status"], job["error"]["code"]) == ("failed", "transient_failure")
    assert job["error"]["message"].endswith("given up after 4 attempts")
    assert "10.0.0.1" not in job["error"]["message"]
    # Then it stands in the dead-letter topic of its lane
    letters = await kafka.read_topic(stack.kafka_bootstrap_servers, topics.dead_letter(topics.lane(LANE)))
    (letter,) = [letter for letter in letters if letter.job_id == old_id]
    assert letter.headers["__dlq.errors.delivery.count"] == b"4"
    # And replayed it is a new job, of the same form, that succeeds
    said = await dlq(stack, environ, "replay", "--job", old_id)
    assert f"{old_id} -> job_" in said
    new_id = said.strip().rpartition(" ")[2]

    async def known() -> bool:
        return (await http.get(f"/v1/jobs/{new_id}")).status_code == 200

    await eventually(known, 20, "the router has written the new job down")
    replayed = await jobs.succeeded(http, new_id)
    assert (replayed["result"], replayed["metadata"]) == ({"predictions": [5]}, {"replay_of": old_id})
    assert (await jobs.read(http, old_id))["status"] == "failed"
    assert await dlq(stack, environ, "list", "--job", old_id) == ""


async def dlq(stack: Stack, environ: Mapping[str, str], *arguments: str) -> str:
    """What the command says on its standard output."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "penstock", "dlq", *arguments),
        env={**os.environ, **environ, "PENSTOCK_KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap_servers},
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    return out.decode()
