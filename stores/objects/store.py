"""`Blobs` by obstore: a folder, S3, Google Cloud Storage or Azure, by the URL.

Its calls are the blocking ones, in threads of our own: the asynchronous ones were seen to abort the process at its end.
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, ParamSpec, Self, TypeVar
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from runtime.logs import get_logger
from schemas.errors import BlobNotFound, ConfigurationError, StoreUnavailable
from stores.blobs import PIECE_BYTES, BlobEntry, Written, check_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from obstore.store import ObjectStore

log = get_logger(__name__)

SCHEMES: Final = ("file", "s3", "gs", "az")
ENDPOINTS: Final = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AZURE_ENDPOINT", "AZURE_STORAGE_ENDPOINT")
# Parts of an upload: S3 takes none below 5 MiB but the last.
PART_BYTES: Final = 5 * 1024 * 1024

P = ParamSpec("P")
T = TypeVar("T")


def check_url(url: str) -> str:
    """The URL of a blob store. Raises `ValueError`."""
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise ValueError(f"must begin with one of {', '.join(f'{scheme}://' for scheme in SCHEMES)}")
    if parts.scheme == "file" and (parts.netloc or not parts.path.startswith("/")):
        raise ValueError("must name a folder by its whole path: file:///folder")
    if parts.scheme != "file" and not parts.netloc:
        raise ValueError(f"must name a bucket: {parts.scheme}://bucket/prefix")
    return url


class ObjectBlobs:
    """Use as `async with`. `threads` bound the calls under way; a call to a store elsewhere takes `timeout_s` at most,
    with what is tried again."""

    def __init__(self, url: str, *, threads: int = 8, timeout_s: float = 20.0) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="blobs")
        self._opened: ObjectStore | None = None

    async def __aenter__(self) -> Self:
        """Raises `ConfigurationError` for a URL or settings that make no store; asks a store elsewhere nothing yet."""
        try:
            self._opened = await self._run(self._open)
        except (BaseError, OSError, ValueError) as error:
            self._threads.shutdown(wait=False)
            raise ConfigurationError(f"PENSTOCK_BLOBS_URL: {_told(error)}") from error
        return self

    async def __aexit__(self, *_: object) -> None:
        self._opened = None
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def put(self, key: str, pieces: AsyncIterable[bytes] | bytes) -> Written:
        digest, size = hashlib.sha256(), 0
        writer = await self._call(
            obstore.open_writer, self._store, check_key(key), buffer_size=PART_BYTES, max_concurrency=1
        )
        # Left without being closed, also by who is canceled, a writer leaves nothing that could be read.
        async for piece in _each(pieces):
            digest.update(piece)
            size += len(piece)
            await self._call(writer.write, piece)
        await self._call(writer.close)
        return Written(size, digest.hexdigest())

    async def size(self, key: str) -> int | None:
        try:
            found = await self._call(obstore.head, self._store, check_key(key))
        except BlobNotFound:
            return None
        return found["size"]

    async def read(self, key: str, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        size = await self.size(key)
        if size is None:
            raise BlobNotFound(f"there is no blob {key!r}")
        end = size if length is None else min(size, start + length)
        if start >= end:
            return
        found = await self._call(obstore.get, self._store, key, options={"range": (start, end)})
        stream = found.stream(min_chunk_size=PIECE_BYTES)
        while (piece := await self._call(next, stream, None)) is not None:
            yield bytes(piece)

    async def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            try:
                await self._call(obstore.delete, self._store, check_key(key))
            except BlobNotFound:
                continue

    async def entries(self, folder: str) -> AsyncIterator[BlobEntry]:
        found = await self._call(obstore.list, self._store, check_key(folder))
        while (group := await self._call(next, found, None)) is not None:
            for each in group:
                yield BlobEntry(each["path"], each["size"], each["last_modified"])

    @property
    def _store(self) -> "ObjectStore":
        if self._opened is None:
            raise StoreUnavailable("the blob store is not open")
        return self._opened

    def _open(self) -> "ObjectStore":
        check_url(self._url)
        if self._url.startswith("file://"):
            return LocalStore(Path(urlsplit(self._url).path), mkdir=True)
        limit = timedelta(seconds=self._timeout_s)
        return from_url(
            self._url,
            client_options={"timeout": limit, "connect_timeout": limit / 4, "allow_http": _allows_http()},
            retry_config={"max_retries": 3, "retry_timeout": limit},
        )

    async def _call(self, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        with _translated():
            return await self._run(work, *arguments, **named)

    async def _run(self, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: work(*arguments, **named))


def _allows_http() -> bool:
    """Who names an address without TLS means it. Options of ours override what the library reads of that itself."""
    return any(os.environ.get(name, "").startswith("http://") for name in ENDPOINTS)


async def _each(pieces: AsyncIterable[bytes] | bytes) -> AsyncIterator[bytes]:
    if isinstance(pieces, bytes):
        yield pieces
        return
    async for piece in pieces:
        yield piece


@contextmanager
def _translated() -> "Iterator[None]":
    try:
        yield
    except FileNotFoundError as error:
        raise BlobNotFound("there is no such blob") from error
    except (BaseError, OSError) as error:
        log.warning("the blob store failed", reason=_told(error))
        raise StoreUnavailable("the blob store did not do it", perhaps_done=True) from error


def _told(error: BaseException) -> str:
    """The first line: behind it the library dumps what it knows."""
    lines: Any = str(error).splitlines() or [type(error).__name__]
    return str(lines[0])[:300]
