"""Opening a stack for tests: what is missing on this machine skips them, what is broken in Penstock does not."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from penstock.errors import StackError
from penstock.stack import Stack
from tests.services import unavailable


@asynccontextmanager
async def opened(stack: Stack) -> AsyncIterator[Stack]:
    try:
        await stack.__aenter__()
    except StackError as error:
        if stack.roles:  # the services were there; it is one of ours that failed
            raise
        unavailable(str(error))
    try:
        yield stack
    finally:
        await stack.__aexit__(None, None, None)
