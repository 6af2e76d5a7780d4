"""Asks a role small questions over HTTP: whether it is ready, and which models it knows."""

import asyncio
from typing import Any
from urllib.parse import urlsplit

import orjson

TIMEOUT_S = 5.0


async def answers_ok(host: str, port: int, path: str) -> bool:
    """Whether `GET path` is answered with 200."""
    status, _ = await _get(host, port, path)
    return status == b"200"


async def models_of(host: str, port: int) -> set[str]:
    """The names of the models that the gateway there has in its catalog."""
    status, body = await _get(host, port, "/v1/models")
    if status != b"200":
        return set()
    models: list[dict[str, Any]] = orjson.loads(body)["data"]
    return {model["id"] for model in models}


async def json_at(url: str) -> Any:
    """What stands at an `http://host:port/path`; None where nobody answers, or with something else."""
    parts = urlsplit(url)
    status, body = await _get(parts.hostname or "", parts.port or 80, parts.path)
    try:
        return orjson.loads(body) if status == b"200" else None
    except orjson.JSONDecodeError:
        return None


async def _get(host: str, port: int, path: str) -> tuple[bytes, bytes]:
    """Status and body; nothing of both where nobody answers in time."""
    request = f"GET {path} HTTP/1.0\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n"
    try:
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(request.encode())
                head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return b"", b""
    return b"".join(head.split(b" ")[1:2]), body
