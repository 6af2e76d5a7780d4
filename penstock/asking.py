"""Runs what a command asks of a gateway, and tells what it failed with in a line."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeVar

import click
import msgspec

from penstock.finding import refused
from penstock.gateway_client import GatewayClient, gateway_at
from penstock.patience import Patience, TargetLost
from penstock.running import Found
from schemas.errors import ErrorBody, PenstockError, Refused

T = TypeVar("T")
Document = dict[str, Any]
MAX_PAGE = 100


def ask(found: Found, work: Callable[[GatewayClient], Awaitable[T]]) -> T:
    """What `work` returns. Raises `ClickException` for what is refused, and where nobody answers."""

    async def asking() -> T:
        async with gateway_at(found.gateway_url, found.origin) as gateway:
            return await work(gateway)

    try:
        return asyncio.run(asking())
    except PenstockError as error:
        raise refused(error) from error
    except KeyError as error:
        raise click.ClickException(f"the server's answer is not what a gateway answers: it has no {error}") from error
    except TargetLost as error:
        raise click.ClickException(str(error)) from error


async def read(gateway: GatewayClient, path: str, params: Mapping[str, str] | None = None) -> Document:
    """The document at `path`. Raises `PenstockError`."""
    return document((await gateway.exchange("GET", path, params=params)).content)


def document(body: bytes) -> Document:
    """Raises `Refused` for what a gateway of ours would not answer."""
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        told = ErrorBody("not_json", f"the server's answer is not what a gateway answers: {error}", "server_error")
        raise Refused(told) from error


async def each_of(gateway: GatewayClient, path: str, params: Mapping[str, str], limit: int) -> AsyncIterator[Document]:
    """The first `limit` documents of a list, page by page."""
    left, after = limit, ""
    while left:
        asked = {**params, "limit": str(min(left, MAX_PAGE))} | ({"after": after} if after else {})
        page = await read(gateway, path, asked)
        for each in page["data"]:
            yield each
        left -= len(page["data"])
        if not page["has_more"]:
            return
        after = page["next_after"]


def patience() -> Patience:
    """A person is told what is waited for."""
    said = set[str]()

    def notice(reason: str) -> None:
        if reason not in said:
            said.add(reason)
            print(f"waiting: {reason}", file=sys.stderr)  # noqa: T201 - beside the answer

    return Patience(notice)
