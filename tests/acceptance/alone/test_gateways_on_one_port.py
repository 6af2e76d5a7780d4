"""Several gateways behind one port, as `penstock up --gateways` starts them."""

import os
from pathlib import Path

from penstock.stack import Stack
from tests.acceptance import digits, jobs
from tests.acceptance.client import client_of
from tests.acceptance.opening import opened
from tests.acceptance.role_logs import LOGS
from tests.waiting import eventually


async def test_a_port_that_gateways_share_is_served_while_one_of_them_is_away(models: Path) -> None:
    whole = Stack(None, models=models, gateways=2, environ=os.environ, announce=LOGS.announce, on_line=LOGS.hear)
    async with opened(whole) as stack:
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
