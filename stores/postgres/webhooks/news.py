"""Hearing of deliveries: what the statements that write them notify."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import asyncpg

from runtime.backoff import delays_s
from runtime.logs import get_logger
from stores.postgres.errors import DRIVER_ERRORS
from stores.postgres.migrations.sessions import settings_of
from stores.postgres.webhooks.events import CHANNEL

if TYPE_CHECKING:
    from stores.postgres.calls import Connection

log = get_logger(__name__)

# A connection that nobody answers on any more is found out so soon.
ASK_EVERY_S: Final = 30.0


async def listen(dsn: str, role: str, timeout_s: float) -> AsyncIterator[None]:
    """Once whenever deliveries may have come, and once for all that came while nobody listened. Has a connection of its
    own, and connects again by itself."""
    heard = asyncio.Event()
    delays = delays_s()
    told = False
    while True:
        try:
            connection = await asyncpg.connect(
                dsn, timeout=timeout_s, command_timeout=timeout_s, server_settings=settings_of(role)
            )
        except (*DRIVER_ERRORS, TimeoutError) as error:
            if not told:
                log.info("news of deliveries are not heard for now", reason=str(error))
            told = True
            await asyncio.sleep(next(delays))
            continue
        try:
            connection.add_termination_listener(lambda _: heard.set())
            with suppress(*DRIVER_ERRORS, TimeoutError):
                await connection.add_listener(CHANNEL, lambda *_: heard.set())
                delays, told = delays_s(), False
                heard.set()
                async for _ in _news(connection, heard):
                    yield
        finally:
            connection.terminate()
        await asyncio.sleep(next(delays))


async def _news(connection: "Connection", heard: asyncio.Event) -> AsyncIterator[None]:
    while not connection.is_closed():
        with suppress(TimeoutError):
            await asyncio.wait_for(heard.wait(), ASK_EVERY_S)
        if heard.is_set():
            heard.clear()
            yield
        else:
            await connection.execute("select 1")
