"""Examines everything side by side, and waits for nothing longer than it may."""

import asyncio
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NamedTuple, TypeVar

from penstock.doctor.findings import Check, Finding, Level
from penstock.errors import in_a_line

T = TypeVar("T")


class Examination(NamedTuple):
    """In the order of the checks. `cut_off`: something still hangs, and may for ever."""

    findings: list[Finding]
    cut_off: bool


async def examine(checks: Mapping[str, Check], limit_s: float) -> Examination:
    """Each check has `limit_s`, all at the same time."""
    found: dict[str, list[Finding]] = {subject: [] for subject in checks}
    tasks = {subject: asyncio.ensure_future(_run(subject, check, found[subject])) for subject, check in checks.items()}
    if tasks:
        await asyncio.wait(tasks.values(), timeout=limit_s)
    cut_off = [subject for subject, task in tasks.items() if not task.done()]
    for subject in cut_off:
        tasks[subject].cancel()
        told = f"no answer within {limit_s:g} s"
        found[subject].append(Finding(subject, Level.PROBLEM, told, "see whether it hangs, or is overloaded"))
    return Examination([finding for each in found.values() for finding in each], bool(cut_off))


async def _run(subject: str, check: Check, found: list[Finding]) -> None:
    try:
        await check(found.append)
    except Exception as error:
        found.append(Finding(subject, Level.PROBLEM, in_a_line(error)))


async def in_thread(work: Callable[[], T]) -> T:
    """What `work` gives. It may hang, as a network's file system does: nobody waits for the thread in the end."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: Exception | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type] # it is there where there is no error

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except Exception as raised:
            error = raised
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, daemon=True).start()
    return await future
