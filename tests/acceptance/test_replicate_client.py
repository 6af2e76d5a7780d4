"""Replicate's client, as it is, on the running stack."""

import io
from collections.abc import AsyncIterator
from typing import Any

import pytest
from replicate.client import Client
from replicate.exceptions import ModelError, ReplicateError

from penstock.stack import Stack
from tests.acceptance import digits


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[Client]:
    client = Client(api_token="none", base_url=stack.gateway_url)
    yield client
    # It closes nothing by itself.
    client._client.close()
    await client._async_client.aclose()


def test_a_model_is_run_with_values_and_with_a_file(client: Client) -> None:
    assert client.run("penstock/volume", input={"length": 2, "width": 3, "height": 4}) == 24
    assert client.run("penstock/volume:volume:1", input={"edges": [1, 2, 3]}) == 6
    image = min(digits.IMAGES.glob("*.png"))
    found: Any = client.run(
        "penstock/digits", input={"image": io.BytesIO(image.read_bytes())}, file_encoding_strategy="base64"
    )
    assert found["label"] == image.stem


def test_a_prediction_is_created_read_awaited_listed_and_canceled(client: Client) -> None:
    prediction = client.predictions.create(version="volume:1", input={"edges": [1, 2, 3]})
    prediction.wait()
    assert (prediction.status, prediction.output, prediction.version) == ("succeeded", 6, "volume:1")
    assert client.predictions.get(prediction.id).output == 6
    assert prediction.id in {each.id for each in client.predictions.list()}
    prediction.cancel()
    assert prediction.status == "succeeded"


async def test_the_same_in_asyncio(client: Client) -> None:
    assert await client.async_run("penstock/volume", input={"edges": [2, 2, 2]}) == 8


def test_what_fails_or_is_refused_is_told_as_replicate_tells_it(client: Client) -> None:
    with pytest.raises(ModelError):
        client.run("penstock/squares", input={"place": 99})
    with pytest.raises(ReplicateError, match="nothing"):
        client.run("penstock/nothing", input={"x": 1})
    with pytest.raises(ReplicateError, match="the model takes length, width, height"):
        client.run("penstock/volume", input={"z": 1})
    with pytest.raises(ReplicateError, match="no such prediction"):
        client.predictions.get("no~prediction~!")
