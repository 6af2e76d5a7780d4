"""Roles that work as members of a group, in this process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from runtime.process import Role, serve
from runtime.settings import ProcessSettings
from tests.waiting import eventually

R = TypeVar("R", bound=Role)


@asynccontextmanager
async def joined(settings: ProcessSettings, role: R) -> AsyncIterator[R]:
    """The role, once it has joined its group; stopped in the end."""
    stop = asyncio.Event()
    serving = asyncio.create_task(serve(settings, role, stop))
    try:
        await eventually(lambda: serving.done() or not any(check() for check in role.checks.values()), timeout_s=20)
        yield role
    finally:
        stop.set()
        await asyncio.wait_for(serving, 20)
