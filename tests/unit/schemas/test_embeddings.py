"""OpenAI's embeddings: what is asked, and what is answered."""

import base64
import json
from typing import Any

import numpy as np
import pytest

from schemas.embeddings import MOST_INPUTS, as_embeddings, as_inference, embedder_of, read_embeddings
from schemas.errors import OutputInvalid, RequestError
from schemas.oip import encode_response, parse_request
from schemas.signature import Signature, TensorSpec

SIGNATURE = Signature(
    inputs=(TensorSpec("text", "BYTES", (-1,), text=True),), outputs=(TensorSpec("vector", "FP32", (-1, 3)),)
)
VECTORS = np.array([[1, 2, 3], [0.1, np.nan, -5]], dtype=np.float32)


def body(**members: Any) -> bytes:
    return json.dumps({"model": "words", "input": "water"} | members).encode()


@pytest.mark.parametrize(("given", "texts"), [("water", ["water"]), (["a", "größe"], ["a", "größe"])])
def test_texts_become_an_inference_request(given: Any, texts: list[str]) -> None:
    payload = as_inference(read_embeddings(body(input=given)), embedder_of("words", SIGNATURE))
    request = parse_request(SIGNATURE, payload)
    assert [text.decode() if isinstance(text, bytes) else text for text in request.inputs["text"]] == texts
    assert request.binary_outputs == {"vector"}


@pytest.mark.parametrize(
    ("members", "param", "says"),
    [
        ({"input": [1, 2]}, "input", "check_embedding_ctx_length=False"),
        ({"input": [[1, 2], [3]]}, "input", "check_embedding_ctx_length=False"),
        ({"input": []}, "input", "has 0 texts"),
        ({"input": ["a"] * (MOST_INPUTS + 1)}, "input", "has 2049 texts"),
        ({"input": ""}, "input", "empty"),
        ({"input": ["a", ""]}, "input", "empty"),
        ({"input": 5}, "input", "input"),
        ({"encoding_format": "hex"}, "encoding_format", "encoding_format"),
        ({"color": "blue"}, "color", "color"),
        ({"model": None}, "model", "model"),
    ],
)
def test_what_is_no_request_is_refused_by_its_name(members: dict[str, Any], param: str | None, says: str) -> None:
    with pytest.raises(RequestError, match=says) as refused:
        read_embeddings(body(**members))
    assert refused.value.param == param


@pytest.mark.parametrize("text", [b"", b"{", b"[" * 100_000, b"\xff"])
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(RequestError):
        read_embeddings(text)


@pytest.mark.parametrize(("dimensions", "may"), [(None, True), (3, True), (2, False)])
def test_vectors_have_the_dimensions_that_the_model_has(dimensions: int | None, may: bool) -> None:
    asked, embedder = read_embeddings(body(dimensions=dimensions)), embedder_of("words", SIGNATURE)
    if may:
        as_inference(asked, embedder)
        return
    with pytest.raises(RequestError, match="words has 3") as refused:
        as_inference(asked, embedder)
    assert refused.value.param == "dimensions"


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ((TensorSpec("x", "FP32", (-1, 2)),), SIGNATURE.outputs),
        ((*SIGNATURE.inputs, TensorSpec("x", "FP32", (-1, 2))), SIGNATURE.outputs),
        (SIGNATURE.inputs, (TensorSpec("y", "FP32", (-1,)),)),
        (SIGNATURE.inputs, (TensorSpec("y", "BYTES", (-1, 3)),)),
    ],
)
def test_a_model_of_other_things_makes_no_embeddings(inputs: Any, outputs: Any) -> None:
    with pytest.raises(RequestError, match="makes no embeddings") as refused:
        embedder_of("other", Signature(inputs=inputs, outputs=outputs))
    assert refused.value.param == "model"


@pytest.mark.parametrize("binary", [frozenset({"vector"}), frozenset[str]()])
def test_vectors_are_answered_in_order_as_numbers_or_bytes(binary: frozenset[str]) -> None:
    finite = np.nan_to_num(VECTORS)
    result = encode_response("words", "1", "job_1", {"vector": finite}, binary, parameters={"tokens": [3, 4]})
    answer = json.loads(as_embeddings(result, "words", "float"))
    assert np.array_equal(np.array([each["embedding"] for each in answer["data"]], np.float32), finite)
    assert [each["index"] for each in answer["data"]] == [0, 1]
    assert answer["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    packed = json.loads(as_embeddings(result, "words", "base64"))["data"]
    assert np.array_equal(np.frombuffer(base64.b64decode(packed[1]["embedding"]), "<f4"), finite[1])


def test_a_result_without_vectors_is_no_answer() -> None:
    result = encode_response("words", "1", "job_1", {"y": VECTORS[0]}, frozenset({"y"}))
    with pytest.raises(OutputInvalid):
        as_embeddings(result, "words", "float")
