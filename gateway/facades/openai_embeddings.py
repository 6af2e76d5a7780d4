"""`POST /v1/embeddings`, as OpenAI's clients and LangChain ask it."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from gateway.answers import JSON_TYPE, Answer
from gateway.facades.describing import described
from gateway.facades.facade import Call, Inference, Page, Request
from gateway.services import Services
from gateway.submit_request import DEFAULT, Submit
from schemas.embeddings import as_embeddings, as_inference, embedder_of, read_embeddings
from schemas.errors import ErrorBody, OutputInvalid
from schemas.jobs import Job, Payload

PATH: Final = "/v1/embeddings"


class Embeddings:
    name = "openai"

    def __init__(self, services: Services) -> None:
        self._serving = services.serving

    def match(self, method: str, path: str) -> Inference | Page | None:
        return Inference(PATH, self._read) if path == PATH and method == "POST" else None

    def refuse(self, status: int, error: ErrorBody) -> Answer:
        return Answer(status, [JSON_TYPE], msgspec.json.encode({"error": error}))

    def _read(self, request: Request) -> Call:
        asked = read_embeddings(request.body)
        entry = self._serving.choose(asked.model, None)
        payload = as_inference(asked, embedder_of(asked.model, entry.signature))

        def answer(_: Job, result: Payload) -> Answer:
            try:
                return Answer(200, [JSON_TYPE], as_embeddings(result, asked.model, asked.encoding_format))
            except ValueError as error:
                raise OutputInvalid("the result holds no vectors") from error

        return Call(Submit(asked.model, None, payload, DEFAULT), answer)

    def openapi(self) -> Mapping[str, Any]:
        return {PATH: {"post": described("openai_embeddings", "Embed texts, as OpenAI's clients ask it", asks=True)}}
