"""Runs what a command asks of a gateway, and tells what it failed with in a line."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeVar

import click
import msgspec

from penstock.documents import Document
from penstock.finding import refused
from penstock.gateway_client import GatewayClient, gateway_at
from penstock.patience import Patience, TargetLost
from penstock.plain import printable
from penstock.running import Found
from producers.bulk.lines import UNREADABLE
from schemas.errors import ErrorBody, PenstockError, Refused

T = TypeVar("T")
MAX_PAGE = 100
WAITED_TOO_LONG = 124  # the exit status where time was up first, as `timeout` has it


def ask(found: Found, work: Callable[[GatewayClient], Awaitable[T]]) -> T:
    """What `work` returns. Raises `ClickException` for what is refused, and where nobody answers."""

    async def asking() -> T:
        async with gateway_at(found.gateway_url, found.origin) as gateway:
            return await work(gateway)

    try:
        return asyncio.run(asking())
    except PenstockError as error:
        raise refused(error) from error
    except TargetLost as error:
        raise click.ClickException(str(error)) from error


async def read(
    gateway: GatewayClient, path: str, shape: type[msgspec.Struct], params: Mapping[str, str] | None = None
) -> Document:
    """The document at `path`, which has what `shape` says and may have more. Raises `PenstockError`."""
    return document((await gateway.exchange("GET", path, params=params)).content, shape)


async def send(
    gateway: GatewayClient,
    method: str,
    path: str,
    shape: type[msgspec.Struct],
    body: Document | None = None,
    params: Mapping[str, str] | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    wait_s: int = 0,
) -> Document:
    """What a request that changes something is answered with; `body` goes as JSON, `shape` is as for `read`. Raises
    `PenstockError`."""
    headers, content = dict(headers or {}), None
    if body is not None:
        headers["content-type"], content = "application/json", msgspec.json.encode(body)
    answer = await gateway.exchange(method, path, headers=headers, params=params, body=content, wait_s=wait_s)
    return document(answer.content, shape)


def document(body: bytes, shape: type[msgspec.Struct]) -> Document:
    """Raises `Refused` for what a gateway of ours would not answer."""
    try:
        found = msgspec.json.decode(body, type=dict[str, Any])
        msgspec.convert(found, shape)
    except UNREADABLE as error:
        raise no_gateway(str(error)) from error
    return found


def noted(note: str | None) -> Mapping[str, str]:
    """The query that says why something is changed."""
    return {"note": note} if note else {}


def no_gateway(why: str) -> Refused:
    return Refused(ErrorBody("not_ours", f"the server's answer is not what a gateway answers: {why}", "server_error"))


async def each_of(
    gateway: GatewayClient, path: str, shape: type[msgspec.Struct], params: Mapping[str, str], limit: int
) -> AsyncIterator[Document]:
    """The first `limit` documents of a list, page by page; `shape` is that of a page. A page may be empty though more
    follow."""
    left, after = limit, ""
    while left > 0:
        asked = {**params, "limit": str(min(left, MAX_PAGE))} | ({"after": str(after)} if after else {})
        page = await read(gateway, path, shape, asked)
        for each in page["data"]:
            yield each
        left -= len(page["data"])
        if not page["has_more"]:
            return
        following = page.get("next_after") or page.get("last_id")  # the latter where OpenAI's lists are ours
        if following in {None, after}:
            raise no_gateway("a page is said to follow, and not where it begins")
        after = following


def patience() -> Patience:
    """A person is told what is waited for."""
    return Patience(telling())


def telling() -> Callable[[str], None]:
    """Tells a person what is waited for, each thing once."""
    said = set[str]()

    def notice(reason: str) -> None:
        if reason not in said:
            said.add(reason)
            print(f"waiting: {printable(reason)}", file=sys.stderr)  # noqa: T201 - beside the answer

    return notice
