import asyncio
import itertools
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from gateway.settings import GatewaySettings
from penstock.embedded.ports import choose
from tests.acceptance.client import NO_AUTHORITIES, client_of
from tests.integration.gateway.conftest import answers
from tests.integration.stores.migrating import contract
from tests.unit.gateway.house import SUBMIT, problem
from tests.waiting import eventually, until

WAIT = {"prefer": "wait=60"}
RETRIES = 60
TRIES_PER_S = 4


@asynccontextmanager
async def process(environment: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """`penstock gateway` with these settings; killed at the end, if it still runs."""
    variables = {f"PENSTOCK_{name.upper()}": value for name, value in environment.items()}
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "penstock", "gateway", env={**os.environ, **variables}, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
            await running.communicate()


async def last_words(running: asyncio.subprocess.Process) -> str:
    _, words = await asyncio.wait_for(running.communicate(), 30)
    return words.decode()


async def test_wrong_settings_are_told_all_at_once() -> None:
    wrong = {"gateway_port": "99999", "public_base_url": "inference.example.com", "gateway_max_lane_depth": "0"}
    async with process(wrong) as running:
        words = await last_words(running)
    assert running.returncode == 2
    for name in wrong:
        assert f"PENSTOCK_{name.upper()}: " in words
    assert "Traceback" not in words


async def test_a_database_that_a_newer_version_contracted_is_told_with_the_version_to_run(
    environment: dict[str, str],
) -> None:
    await contract(environment["postgres_dsn"])
    async with process(environment) as running:
        words = await last_words(running)
    assert running.returncode == 2
    assert "took away what this version of Penstock needs: run Penstock " in words.splitlines()[-1]
    assert "Traceback" not in words


async def test_a_port_in_use_is_told_by_its_setting(environment: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", int(environment["gateway_port"]))):
        async with process(environment) as running:
            words = await last_words(running)
    assert running.returncode == 2
    assert "PENSTOCK_GATEWAY_PORT: cannot listen on 127.0.0.1" in words
    assert "Traceback" not in words


async def test_a_shared_port_that_somebody_has_for_himself_is_told_by_its_setting(environment: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        shared = {"gateway_shared_port": str(other.getsockname()[1])}
        async with process(environment | shared) as running:
            words = await last_words(running)
    assert running.returncode == 2
    assert "PENSTOCK_GATEWAY_SHARED_PORT: cannot listen on 127.0.0.1" in words
    assert "Traceback" not in words


async def test_gateways_that_share_a_port_all_serve_it_and_each_answers_for_itself_on_its_own(
    environment: dict[str, str], prepared: GatewaySettings
) -> None:
    own_port, shared_port = choose(2)
    environment |= {"gateway_shared_port": str(shared_port)}
    other = environment | {"gateway_port": str(own_port)}
    shared_url = f"http://127.0.0.1:{shared_port}"
    # A connection for each request: each is somebody's.
    unshared = httpx.Limits(max_keepalive_connections=0)
    async with (
        process(environment) as running,
        process(other),
        client_of(prepared.public_base_url, timeout_s=30) as first,
        client_of(f"http://127.0.0.1:{own_port}", timeout_s=30) as second,
        httpx.AsyncClient(base_url=shared_url, timeout=30, verify=NO_AUTHORITIES, limits=unshared) as client,
    ):
        await eventually(lambda: answers(first, "/readyz", 200), timeout_s=30)
        await eventually(lambda: answers(second, "/readyz", 200), timeout_s=30)
        for _ in range(64):
            assert (await client.post("/v1/jobs", json=SUBMIT)).status_code == 202
        shares = [await accepted(each) for each in (first, second)]
        assert sum(shares) == 64
        assert min(shares) > 0
        running.kill()
        await running.wait()
        for _ in range(16):
            assert (await client.post("/v1/jobs", json=SUBMIT)).status_code == 202
        assert await accepted(second) == shares[1] + 16


async def accepted(client: httpx.AsyncClient) -> int:
    """How many submits the gateway there has accepted."""
    lines = (await client.get("/metrics")).text.splitlines()
    told = [line for line in lines if line.startswith("penstock_gateway_submits_total{") and '"accepted"' in line]
    return sum(int(float(line.rpartition(" ")[2])) for line in told)


async def test_at_a_signal_whoever_waits_is_answered_and_nobody_is_cut_off(
    environment: dict[str, str], prepared: GatewaySettings
) -> None:
    url = prepared.public_base_url
    async with process(environment) as running, client_of(url, timeout_s=30) as client:
        await eventually(lambda: answers(client, "/readyz", 200), timeout_s=30)
        job_id = (await client.post("/v1/jobs", json=SUBMIT)).json()["id"]
        tag = (await client.get(f"/v1/jobs/{job_id}")).headers["etag"]
        submits = [asyncio.create_task(client.post("/v1/jobs", json=SUBMIT, headers=WAIT)) for _ in range(20)]
        poll = asyncio.create_task(client.get(f"/v1/jobs/{job_id}", headers=WAIT | {"if-none-match": tag}))
        events = asyncio.create_task(client.get(f"/v1/jobs/{job_id}/events"))
        await eventually(lambda: waiters(client, 22))

        running.send_signal(signal.SIGTERM)
        words = await last_words(running)
        assert running.returncode == 0, words
        assert [(await submit).status_code for submit in submits] == [202] * 20
        assert (await poll).status_code == 304
        assert "event: status" in (await events).text


async def waiters(client: httpx.AsyncClient, count: int) -> bool:
    return f"penstock_gateway_waiters {count}.0" in (await client.get("/metrics")).text


async def test_a_process_that_waits_for_kafka_is_alive_and_ends_at_a_signal(environment: dict[str, str]) -> None:
    url = environment["public_base_url"]
    environment |= {"kafka_bootstrap_servers": "127.0.0.1:1"}
    async with process(environment) as running, client_of(url) as client:
        await eventually(lambda: answers(client, "/livez", 200), timeout_s=30)
        assert (await client.get("/readyz")).status_code == 503
        problem(await client.post("/v1/jobs", json=SUBMIT), 503, "unavailable")
        running.send_signal(signal.SIGTERM)
        words = await last_words(running)
    assert running.returncode == 0, words
    assert "Traceback" not in words


async def test_after_a_gateway_was_killed_another_one_answers_retries_within_two_seconds(
    environment: dict[str, str], prepared: GatewaySettings
) -> None:
    (port,) = choose(1)
    other = environment | {"gateway_port": str(port), "public_base_url": f"http://127.0.0.1:{port}"}
    many = httpx.Limits(max_connections=RETRIES)
    async with (
        process(environment) as running,
        process(other),
        httpx.AsyncClient(
            base_url=environment["public_base_url"], timeout=30, verify=NO_AUTHORITIES, limits=many
        ) as client,
        httpx.AsyncClient(
            base_url=other["public_base_url"], timeout=30, verify=NO_AUTHORITIES, limits=many
        ) as elsewhere,
    ):
        await eventually(lambda: answers(client, "/readyz", 200), timeout_s=30)
        await eventually(lambda: answers(elsewhere, "/readyz", 200), timeout_s=30)
        # Twice as many as there are connections: while the first are answered, others are on their way.
        first = [asyncio.create_task(keyed(client, number)) for number in range(2 * RETRIES)]
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        running.kill()
        outcomes = await asyncio.gather(*first, return_exceptions=True)
        cut_off = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, httpx.TransportError)]
        assert cut_off, "all were answered before the kill"
        tries = await asyncio.gather(*(until_accepted(elsewhere, number) for number in cut_off))
    assert max(tries) <= 2 * TRIES_PER_S, "those of two seconds, which may be longer on a busy machine"


async def keyed(client: httpx.AsyncClient, number: int) -> httpx.Response:
    return await client.post("/v1/jobs", json=SUBMIT, headers={"idempotency-key": f"{number}"})


async def until_accepted(client: httpx.AsyncClient, number: int) -> int:
    """Ask four times a second, if there is time, until the job is accepted. Returns how often that was."""
    for tries in itertools.count(1):
        asked_s = time.monotonic()
        answer = await keyed(client, number)
        assert answer.status_code in (202, 409), answer.text
        if answer.status_code == 202:
            return tries
        await until(asked_s + 1 / TRIES_PER_S)
    raise AssertionError("it was asked without end")
