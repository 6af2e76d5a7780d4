"""Opening a stack for tests: what is missing on this machine skips them, what is broken in Penstock does not."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from penstock.errors import StackError
from penstock.stack import Stack
from tests.acceptance.role_logs import LOGS
from tests.services import unavailable


def heard(data_dir: Path | None = None, **options: Any) -> Stack:
    """A stack, with these options, whose roles' lines are kept for the reports of failures."""
    return Stack(data_dir, announce=LOGS.announce, on_line=LOGS.hear, **options)


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
