"""azure-core's pollers of long-running operations, unmodified, against the native job routes."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from azure.core import AsyncPipelineClient, PipelineClient
from azure.core.exceptions import HttpResponseError
from azure.core.pipeline.policies import AsyncRetryPolicy, RequestIdPolicy, RetryPolicy
from azure.core.pipeline.transport import AsyncioRequestsTransport
from azure.core.polling import AsyncLROPoller, LROPoller
from azure.core.polling.async_base_polling import AsyncLROBasePolling
from azure.core.polling.base_polling import LROBasePolling
from azure.core.rest import HttpRequest

from penstock.stack import Stack
from tests.acceptance import digits, jobs
from tests.waiting import eventually

# azure-core's own pause where no Retry-After says better; far more than these tests wait.
OWN_PAUSE_S = 300


@pytest.fixture
def client(stack: Stack) -> Iterator[PipelineClient[Any, Any]]:
    pipeline: PipelineClient[Any, Any] = PipelineClient(stack.gateway_url, policies=[RequestIdPolicy(), RetryPolicy()])
    with pipeline as client:
        yield client


@pytest.fixture
async def async_client(stack: Stack) -> AsyncIterator[AsyncPipelineClient[Any, Any]]:
    pipeline: AsyncPipelineClient[Any, Any] = AsyncPipelineClient(
        stack.gateway_url, policies=[RequestIdPolicy(), AsyncRetryPolicy()], transport=AsyncioRequestsTransport()
    )
    async with pipeline as client:
        yield client


def document(answer: Any) -> Any:
    return answer.http_response.json()


def begin(client: PipelineClient[Any, Any], model: str, **request: Any) -> LROPoller[Any]:
    url = client.format_url(f"/v1/models/{model}/jobs")
    first = client.send_request(HttpRequest("POST", url, **request), _return_pipeline_response=True)
    return LROPoller(client, first, document, LROBasePolling(timeout=OWN_PAUSE_S))


async def test_a_poller_brings_the_finished_job(client: PipelineClient[Any, Any]) -> None:
    rows = digits.images(2)
    began = time.monotonic()
    poller = await asyncio.to_thread(begin, client, "digits", json=digits.request(rows))
    job = await asyncio.to_thread(poller.result)
    assert poller.status() == "succeeded"
    assert job["status"] == "succeeded"
    assert jobs.output(job, "label")["data"] == digits.labels(rows)
    assert time.monotonic() - began < 30  # it heeded Retry-After instead of its own pause


async def test_a_poller_can_be_picked_up_again_elsewhere(client: PipelineClient[Any, Any]) -> None:
    rows = digits.images(1)
    poller = await asyncio.to_thread(begin, client, "digits", json=digits.request(rows))
    token = poller.continuation_token()
    again: LROPoller[Any] = LROPoller.from_continuation_token(
        LROBasePolling(timeout=OWN_PAUSE_S), token, client=client, deserialization_callback=document
    )
    job = await asyncio.to_thread(again.result)
    assert jobs.output(job, "label")["data"] == digits.labels(rows)


async def test_a_poller_sees_a_job_fail(client: PipelineClient[Any, Any], parked: str) -> None:
    poller = await asyncio.to_thread(begin, client, parked, params={"timeout_s": "1"}, json={"instances": ["a"]})
    with pytest.raises(HttpResponseError) as failure:
        await asyncio.to_thread(poller.result, 30)
    assert poller.status() == "failed"
    assert failure.value.error is not None
    assert failure.value.error.code == "deadline_exceeded"


async def test_a_poller_sees_a_job_canceled(
    client: PipelineClient[Any, Any], http: httpx.AsyncClient, parked: str
) -> None:
    poller = await asyncio.to_thread(begin, client, parked, json={"instances": ["a"]})
    await eventually(lambda: poller.status() == "queued")
    url = poller.polling_method().resource()["urls"]["cancel"]
    assert (await http.post(url)).status_code == 200
    with pytest.raises(HttpResponseError):
        await asyncio.to_thread(poller.result, 30)
    assert poller.status() == "canceled"


async def test_the_async_poller_does_the_same(
    async_client: AsyncPipelineClient[Any, Any], http: httpx.AsyncClient, parked: str
) -> None:
    rows = digits.images(2)
    url = async_client.format_url("/v1/models/digits/jobs")
    first = await async_client.send_request(
        HttpRequest("POST", url, json=digits.request(rows)), _return_pipeline_response=True
    )
    poller = AsyncLROPoller(async_client, first, document, AsyncLROBasePolling(timeout=OWN_PAUSE_S))
    job = await poller.result()
    assert poller.status() == "succeeded"
    assert jobs.output(job, "label")["data"] == digits.labels(rows)
    # And where the job is canceled
    url = async_client.format_url(f"/v1/models/{parked}/jobs")
    first = await async_client.send_request(
        HttpRequest("POST", url, json={"instances": ["a"]}), _return_pipeline_response=True
    )
    poller = AsyncLROPoller(async_client, first, document, AsyncLROBasePolling(timeout=OWN_PAUSE_S))
    await http.post(first.http_response.json()["urls"]["cancel"])
    with pytest.raises(HttpResponseError):
        await poller.result()
    assert poller.status() == "canceled"


async def test_a_submit_that_is_refused_raises_with_its_code(client: PipelineClient[Any, Any]) -> None:
    url = client.format_url("/v1/models/digits/jobs")
    answer = await asyncio.to_thread(client.send_request, HttpRequest("POST", url, json={"instances": []}))
    with pytest.raises(HttpResponseError) as failure:
        answer.raise_for_status()
    assert failure.value.error is not None
    assert failure.value.error.code == "invalid_input"
