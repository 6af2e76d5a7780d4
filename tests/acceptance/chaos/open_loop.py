"""An HTTP client cheap enough for an open loop: httpx looks at every connection of its pool for each request."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx

from benchmarks.http import Client

TIMEOUT_S = 30.0


class Heard(NamedTuple):
    """As much of `httpx.Response` as `Load` needs: to make one takes as long as all the rest of a request."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode(errors="replace")

    def json(self) -> Any:
        return json.loads(self.content)


class OpenLoopClient:
    """As much of `httpx.AsyncClient`, with its errors; any number of connections."""

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        self._client = Client(parts.hostname or "localhost", parts.port or 80)

    async def post(self, url: str, *, json: Any, headers: Mapping[str, str]) -> Heard:
        """Raises `httpx.TransportError`: `ConnectError` where nothing was sent."""
        body = as_bytes(json)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                answer = await self._client.request("POST", url, body, {**headers, "content-type": "application/json"})
        except ConnectionRefusedError as error:
            raise httpx.ConnectError(str(error)) from error
        except TimeoutError as error:
            raise httpx.ReadTimeout(f"no answer within {TIMEOUT_S:g} s") from error
        except (OSError, EOFError) as error:
            raise httpx.ReadError(str(error)) from error
        return Heard(*answer)

    def close(self) -> None:
        self._client.close()


def as_bytes(value: Any) -> bytes:
    return json.dumps(value).encode()
