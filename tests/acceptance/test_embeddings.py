"""Embeddings by OpenAI's clients and LangChain's, as they are."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from langchain_openai import OpenAIEmbeddings

from penstock.stack import Stack
from tests.acceptance.words import SIZE, TABLE
from tests.waiting import eventually

TEXTS = ["water gate", "wheel", "größe water water"]
PLACES = [[1, 2], [4], [5, 1, 1]]
VECTORS = np.array([TABLE[places].sum(axis=0) for places in PLACES])


@pytest.fixture
async def sdk(stack: Stack) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{stack.gateway_url}/v1", api_key="none") as sdk:
        yield sdk


def test_texts_are_embedded(stack: Stack) -> None:
    with openai.OpenAI(base_url=f"{stack.gateway_url}/v1", api_key="none") as sdk:
        answer = sdk.embeddings.create(model="words", input=TEXTS)  # the SDK asks for base64 by itself
        one = sdk.embeddings.create(model="words", input=TEXTS[0], encoding_format="float", dimensions=SIZE)
        assert "words" in {model.id for model in sdk.models.list()}
    assert np.allclose([each.embedding for each in answer.data], VECTORS, atol=1e-6)
    assert np.allclose(one.data[0].embedding, VECTORS[0], atol=1e-6)
    assert (answer.usage.prompt_tokens, one.usage.total_tokens, answer.model) == (6, 2, "words")


async def test_a_thousand_texts_are_those_of_the_open_inference_protocol(
    sdk: openai.AsyncOpenAI, http: httpx.AsyncClient
) -> None:
    texts = [" ".join(["water", "gate", "pipe"][: 1 + number % 3] * (1 + number % 7)) for number in range(1000)]
    answer = await sdk.embeddings.create(model="words", input=texts)
    tensor = {"name": "text", "shape": [1000], "datatype": "BYTES", "data": texts}
    same = (await http.post("/v2/models/words/infer", json={"inputs": [tensor]})).json()["outputs"][0]
    assert np.allclose([each.embedding for each in answer.data], np.reshape(same["data"], same["shape"]), atol=1e-6)


async def test_what_cannot_be_embedded_is_told_as_openai_tells_it(sdk: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="check_embedding_ctx_length=False") as refused:
        await sdk.embeddings.create(model="words", input=[[1, 2, 3]])
    assert refused.value.param == "input"
    with pytest.raises(openai.NotFoundError, match="unknown"):
        await sdk.embeddings.create(model="unknown", input="water")
    with pytest.raises(openai.BadRequestError, match="makes no embeddings"):
        await sdk.embeddings.create(model="volume", input="water")


async def test_a_batch_of_embeddings_is_answered_line_by_line(sdk: openai.AsyncOpenAI) -> None:
    inputs: list[Any] = [*TEXTS, TEXTS, [7, 8]]
    lines = [
        {
            "custom_id": f"line-{place}",
            "method": "POST",
            "url": "/v1/embeddings",
            "body": {"model": "words", "input": each},
        }
        for place, each in enumerate(inputs)
    ]
    file = await sdk.files.create(file="".join(json.dumps(each) + "\n" for each in lines).encode(), purpose="batch")
    batch = await sdk.batches.create(input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h")

    async def is_done() -> bool:
        return (await sdk.batches.retrieve(batch.id)).status == "completed"

    await eventually(is_done)
    batch = await sdk.batches.retrieve(batch.id)
    assert batch.output_file_id
    assert batch.error_file_id
    answers = {
        each["custom_id"]: each["response"]["body"]
        for each in map(json.loads, (await sdk.files.content(batch.output_file_id)).text.splitlines())
    }
    for place, vector in enumerate(VECTORS):
        assert np.allclose(answers[f"line-{place}"]["data"][0]["embedding"], vector, atol=1e-6)
    assert np.allclose([each["embedding"] for each in answers["line-3"]["data"]], VECTORS, atol=1e-6)
    assert [answers[f"line-{place}"]["usage"]["total_tokens"] for place in range(4)] == [2, 1, 3, 6]
    (error,) = map(json.loads, (await sdk.files.content(batch.error_file_id)).text.splitlines())
    assert (error["custom_id"], error["response"]["status_code"]) == ("line-4", 400)
    assert "check_embedding_ctx_length=False" in error["response"]["body"]["error"]["message"]


async def test_langchain_embeds_documents_and_queries(stack: Stack) -> None:
    with httpx.Client() as client:
        async with httpx.AsyncClient() as async_client:
            embeddings = OpenAIEmbeddings(
                model="words",
                openai_api_base=f"{stack.gateway_url}/v1",
                openai_api_key=lambda: "none",
                check_embedding_ctx_length=False,
                http_client=client,
                http_async_client=async_client,
            )
            assert np.allclose(await embeddings.aembed_documents(TEXTS), VECTORS, atol=1e-6)
            assert np.allclose(embeddings.embed_query(TEXTS[1]), VECTORS[1], atol=1e-6)
