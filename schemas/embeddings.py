"""OpenAI's embeddings: their request as an inference request, and a result as their answer. Pure.

Source: the API reference of `POST /v1/embeddings`, and what its SDK and LangChain send.
"""

import base64
from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec
import numpy as np
import orjson

from schemas.errors import OutputInvalid, RequestError
from schemas.jobs import JSON, Payload
from schemas.malformed import read_body
from schemas.results import read_response, tokens_of
from schemas.signature import Signature
from schemas.tensors import Array

MOST_INPUTS: Final = 2048
Encoding = Literal["float", "base64"]
NO_TEXT: Final = (
    "input holds token ids, and only the model's own tokenizer makes those: send text. "
    "LangChain's OpenAIEmbeddings does with check_embedding_ctx_length=False"
)


class EmbeddingsRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`user` is read by nobody."""

    input: str | list[str | int | list[int]]
    model: str
    encoding_format: Encoding = "float"
    dimensions: int | None = None
    user: str | None = None

    @property
    def texts(self) -> list[str]:
        return [self.input] if isinstance(self.input, str) else [str(each) for each in self.input]


_decoder: Final = msgspec.json.Decoder(EmbeddingsRequest)


class Embedder(msgspec.Struct, frozen=True):
    """The tensors of a model by which it makes embeddings: one text in, one vector out."""

    text: str
    vector: str
    dimensions: int  # -1 where the model does not say


def read_embeddings(body: bytes) -> EmbeddingsRequest:
    """Raises `RequestError` naming the member and its rule."""
    asked = read_body(_decoder, body, "request for embeddings")
    if not isinstance(asked.input, str):
        if not 0 < len(asked.input) <= MOST_INPUTS:
            raise RequestError(f"input has {len(asked.input)} texts; 1 to {MOST_INPUTS} at a time", param="input")
        if any(not isinstance(each, str) for each in asked.input):
            raise RequestError(NO_TEXT, param="input")
    if "" in asked.texts:
        raise RequestError("input holds an empty text", param="input")
    return asked


def embedder_of(model: str, signature: Signature) -> Embedder:
    """Raises `RequestError` for a model that makes no embeddings of texts."""
    texts = [spec for spec in signature.inputs if spec.datatype == "BYTES" and spec.row_shape == ()]
    vectors = [spec for spec in signature.outputs if spec.datatype.startswith("FP") and len(spec.row_shape) == 1]
    if len(signature.inputs) != 1 or len(texts) != 1 or not vectors:
        raise RequestError(f"{model} takes no text alone, or gives no vector: it makes no embeddings", param="model")
    return Embedder(texts[0].name, vectors[0].name, vectors[0].row_shape[0])


def as_inference(asked: EmbeddingsRequest, embedder: Embedder) -> Payload:
    """The same as a request of the Open Inference Protocol. Raises `RequestError`."""
    if asked.dimensions is not None and asked.dimensions != embedder.dimensions:
        raise RequestError(
            f"dimensions: {asked.model} has {embedder.dimensions}, and no way to give fewer", param="dimensions"
        )
    texts = asked.texts
    tensor = {"name": embedder.text, "datatype": "BYTES", "shape": [len(texts)], "data": texts}
    output = {"name": embedder.vector, "parameters": {"binary_data": True}}
    return Payload(orjson.dumps({"inputs": [tensor], "outputs": [output]}), JSON)


def as_embeddings(result: Payload, model: str, encoding: Encoding) -> bytes:
    """The answer in a result. Raises `OutputInvalid` for one that holds no vectors."""
    response, arrays = read_response(result)
    if len(arrays) != 1:
        raise OutputInvalid("the result holds no vectors")
    return encode_embeddings(arrays[0], tokens_of(response), model, encoding)


def encode_embeddings(vectors: Array, tokens_by_row: Sequence[int], model: str, encoding: Encoding) -> bytes:
    """The answer of vectors [rows, dimensions]. Raises `OutputInvalid` for what are none."""
    if vectors.ndim != 2:
        raise OutputInvalid("the result holds no vectors")
    vectors, tokens = np.ascontiguousarray(vectors, dtype="<f4"), sum(tokens_by_row)
    document: dict[str, Any] = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": _written(vector, encoding)}
            for index, vector in enumerate(vectors)
        ],
        "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def _written(vector: Array, encoding: Encoding) -> Any:
    return vector if encoding == "float" else base64.b64encode(vector.tobytes()).decode()
