"""What a person sees while something is fetched: a bar in a terminal, two lines elsewhere."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(what: str, total_bytes: int, announce: Callable[[str], None]) -> Iterator[Callable[[int], None]]:
    """Yields what is to be called, from any thread, with the bytes that came (or, negative, that were lost again)."""
    if sys.stderr.isatty():
        with bar(what, total_bytes) as advance:
            yield advance
        return
    announce(f"fetching {what} ({total_bytes / 1e6:.0f} MB)")
    yield lambda _: None
    announce(f"fetched {what}")


@contextmanager
def bar(what: str, total_bytes: int) -> Iterator[Callable[[int], None]]:
    # An extra, and only a first run needs it.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn  # noqa: PLC0415

    columns = (TextColumn("fetching {task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=total_bytes)
        lock = threading.Lock()

        def advance(count: int) -> None:
            with lock:
                shown.advance(task, count)

        yield advance
