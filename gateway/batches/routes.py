"""The routes of files and batches."""

from collections.abc import AsyncIterator
from typing import Annotated, Final, Literal

from fastapi import FastAPI, Path, Query
from pydantic.json_schema import SkipJsonSchema
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from gateway.answers import json
from gateway.batches import openapi
from gateway.batches.documents import (
    encode_batch,
    encode_batches,
    encode_deleted,
    encode_file,
    encode_files,
)
from gateway.batches.requests import read_batch_request
from gateway.batches.services import changing, reading
from gateway.client_gone import ClientGone
from gateway.idempotency import REPLAYED, idempotency_key, key_values
from gateway.paging import Limit
from gateway.route_routes import body_of
from gateway.services import Services
from schemas.batches import Purpose
from schemas.errors import UnsupportedMediaType
from stores.protocols import IdempotencyKey

FILES: Final = "/v1/files"
BATCHES: Final = "/v1/batches"
JSONL: Final = "application/jsonl"
NEXT_AFTER: Final = "penstock-next-after"

FileId = Annotated[str, Path(description="The file's id.")]
BatchId = Annotated[str, Path(description="The batch's id.")]
After = Annotated[str | SkipJsonSchema[None], Query(description="The last id of the page before.")]
# As OpenAI has it; a page may be larger than elsewhere.
FilesLimit = Annotated[int, Query(ge=1, le=10_000, description="Entries a page.")]


def add_batch_routes(app: FastAPI, services: Services) -> None:
    add_file_routes(app, services)
    add_file_changes(app, services)
    add_batch_changes(app, services)
    add_batch_reading(app, services)


def add_file_changes(app: FastAPI, services: Services) -> None:
    @app.post(
        FILES,
        response_class=Response,
        responses=openapi.UPLOAD,
        openapi_extra=openapi.WITH_FILE,
        tags=["batches"],
        summary="Upload a file",
    )
    async def upload_file(request: Request) -> Response:
        """`multipart/form-data` with a file of JSONL and the purpose `batch`. It is stored as it comes."""
        content_type = request.headers.get("content-type", "")
        if not content_type.startswith("multipart/form-data"):
            raise UnsupportedMediaType("send multipart/form-data with a file and its purpose", param="Content-Type")
        uploads = services.batching.found.uploads
        try:
            with changing():
                file = await uploads.add(request.scope["tenant"], content_type.encode("latin-1"), request.stream())
        except ClientDisconnect as error:
            raise ClientGone from error
        return json(encode_file(file))

    @app.delete(
        FILES + "/{file_id}",
        response_class=Response,
        responses=openapi.DELETE,
        tags=["batches"],
        summary="Delete a file",
    )
    async def delete_file(request: Request, file_id: FileId) -> Response:
        """Not while a batch that has not ended reads it."""
        with changing():
            return json(encode_deleted(await services.batching.found.contents.remove(request.scope["tenant"], file_id)))


def add_file_routes(app: FastAPI, services: Services) -> None:
    @app.get(FILES, response_class=Response, responses=openapi.LIST_FILES, tags=["batches"], summary="List files")
    async def list_files(
        request: Request,
        after: After = None,
        limit: FilesLimit = 100,
        order: Annotated[Literal["asc", "desc"], Query(description="By creation.")] = "desc",
        purpose: Annotated[Purpose | SkipJsonSchema[None], Query(description="Only files of this purpose.")] = None,
    ) -> Response:
        """Uploaded ones, and what batches gave."""
        with reading():
            found = await services.batching.found.contents.page(
                request.scope["tenant"], after, limit + 1, ascending=order == "asc", purpose=purpose
            )
        return json(encode_files(found, limit))

    @app.get(
        FILES + "/{file_id}",
        response_class=Response,
        responses=openapi.GET_FILE,
        tags=["batches"],
        summary="Read a file's object",
    )
    async def get_file(request: Request, file_id: FileId) -> Response:
        """Its name, size and times."""
        with reading():
            return json(encode_file(await services.batching.found.contents.file(request.scope["tenant"], file_id)))

    @app.get(
        FILES + "/{file_id}/content",
        response_class=Response,
        responses=openapi.CONTENT,
        tags=["batches"],
        summary="Download a file",
    )
    async def get_file_content(request: Request, file_id: FileId) -> Response:
        """JSONL. An output has its lines in the order in which they ended; `custom_id` tells which is which."""
        contents = services.batching.found.contents
        with reading():
            file = await contents.file(request.scope["tenant"], file_id)
            return await streamed(contents.read(file), {"content-length": str(file.bytes)})


def add_batch_changes(app: FastAPI, services: Services) -> None:
    @app.post(
        BATCHES,
        response_class=Response,
        responses=openapi.CREATE,
        openapi_extra=openapi.WITH_BATCH,
        tags=["batches"],
        summary="Create a batch",
    )
    async def create_batch(request: Request) -> Response:
        """Answered at once. Its lines are looked through, then run in the bulk lane of one version, which is chosen now
        where the endpoint names the model."""
        body = await body_of(request, services)
        asked, key = read_batch_request(body), _key_of(request, body)
        with changing():
            created = await services.batching.found.control.create(request.scope["tenant"], asked, key)
        answer = json(encode_batch(created.batch))
        if created.replayed:
            answer.headers[REPLAYED.decode()] = "true"
        return answer

    @app.post(
        BATCHES + "/{batch_id}/cancel",
        response_class=Response,
        responses=openapi.CANCEL,
        tags=["batches"],
        summary="Cancel a batch",
    )
    async def cancel_batch(request: Request, batch_id: BatchId) -> Response:
        """What has ended by then stays, and is in its files. One that has ended stays as it is."""
        with changing():
            return json(encode_batch(await services.batching.found.control.cancel(request.scope["tenant"], batch_id)))


def add_batch_reading(app: FastAPI, services: Services) -> None:
    @app.get(BATCHES, response_class=Response, responses=openapi.LIST, tags=["batches"], summary="List batches")
    async def list_batches(request: Request, after: After = None, limit: Limit = 20) -> Response:
        """Newest first."""
        with reading():
            found = await services.batching.found.control.page(request.scope["tenant"], after, limit + 1)
        return json(encode_batches(found, limit))

    @app.get(
        BATCHES + "/{batch_id}",
        response_class=Response,
        responses=openapi.GET,
        tags=["batches"],
        summary="Read a batch",
    )
    async def get_batch(request: Request, batch_id: BatchId) -> Response:
        """How far it is. All of `request_counts` but `total` add up to it, at any time."""
        with reading():
            return json(encode_batch(await services.batching.found.control.get(request.scope["tenant"], batch_id)))

    @app.get(
        BATCHES + "/{batch_id}/results",
        response_class=Response,
        responses=openapi.RESULTS,
        tags=["batches"],
        summary="Read what is final of a batch",
    )
    async def get_batch_results(
        request: Request,
        batch_id: BatchId,
        after: Annotated[
            str | SkipJsonSchema[None], Query(description="The `Penstock-Next-After` of the answer before.")
        ] = None,
    ) -> Response:
        """Also while it runs: lines of JSONL, answers and errors alike, each once, from the cursor on."""
        batching = services.batching.found
        with reading():
            batch = await batching.control.get(request.scope["tenant"], batch_id)
            results = await batching.contents.results(batch, after)
            size = sum(part.bytes for part in results.parts)
            headers = {"content-length": str(size), NEXT_AFTER: results.next_after}
            return await streamed(batching.contents.lines(results), headers)


def _key_of(request: Request, body: bytes) -> IdempotencyKey | None:
    values = key_values(request.scope)
    return idempotency_key(values, BATCHES.encode(), body) if values else None


async def streamed(pieces: AsyncIterator[bytes], headers: dict[str, str]) -> Response:
    """The first piece is there before the answer begins: what is missing is told as an error."""
    first = await anext(pieces, b"")

    async def whole() -> AsyncIterator[bytes]:
        yield first
        async for piece in pieces:
            yield piece

    return StreamingResponse(whole(), media_type=JSONL, headers=headers)
