"""Several gateways, behind one port and each at its own, as `penstock up --gateways` starts them."""

import os
import shutil
from collections.abc import Iterator

import pytest
from anyio.from_thread import BlockingPortal

from penstock.stack import Stack
from schemas.topics import Topics
from tests.acceptance import digits, jobs
from tests.acceptance.client import client_of
from tests.acceptance.opening import heard, opened
from tests.acceptance.repository import EXAMPLES
from tests.acceptance.routing.changing import run_changes
from tests.acceptance.routing.witness import write_witness
from tests.waiting import eventually

TOPICS = Topics("penstock")


@pytest.fixture(scope="module")
def stack(portal: BlockingPortal, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    models = write_witness(tmp_path_factory.mktemp("models"))
    shutil.copytree(EXAMPLES / "models" / "digits", models / "digits", ignore=shutil.ignore_patterns("*.safetensors"))
    environ = {**os.environ, "PENSTOCK_TOPIC_PREFIX": TOPICS.prefix}
    whole = heard(models=models, gateways=2, environ=environ)
    with portal.wrap_async_context_manager(opened(whole)):
        yield whole


async def test_a_change_of_a_route_holds_everywhere_once_that_is_said_and_no_job_is_lost(stack: Stack) -> None:
    run = await run_changes(stack, TOPICS, changes=8, per_s=25, pause_s=0.1)

    assert {change.replicas for change in run.changes} == {3}  # two gateways and a router
    assert len({sent.over for sent in run.sent}) == 3
    ends = [run.served[sent.id] for sent in run.sent]
    assert [end for end in ends if end.status != "succeeded"] == []
    assert [end for end in ends if end.served_by != end.named] == []
    assert {end.named for end in ends} == {"1", "2"}
    assert run.stale() == []


async def test_a_port_that_gateways_share_is_served_while_one_of_them_is_away(stack: Stack) -> None:
    assert len({stack.gateway_url, *stack.gateway_urls}) == 3
    request = digits.request(digits.images(1))
    await stack.role("gateway-2").stop()
    job_ids = []
    for _ in range(8):
        async with client_of(stack.gateway_url) as http:  # whose connection is whose, the system chooses
            job_ids.append(jobs.accepted(await http.post("/v1/models/digits/jobs", json=request))["id"])
            await jobs.succeeded(http, job_ids[-1])
    await stack.role("gateway-2").start()
    first = stack.role("gateway")
    process = first.pid
    first.kill()
    await eventually(lambda: first.running and first.pid != process, 30, "the supervisor has started it again")
    async with client_of(stack.gateway_urls[1]) as http:
        await jobs.succeeded(http, job_ids[0])
