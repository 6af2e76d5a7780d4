"""A control group with little memory, for a process to be killed in by the kernel as in a container."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

import pytest

# By the version of control groups: where groups of memory are made, and which file holds the limit.
PLACES = {
    Path("/sys/fs/cgroup/memory"): "memory.limit_in_bytes",
    Path("/sys/fs/cgroup"): "memory.max",
}


@contextmanager
def control_group(memory_bytes: int) -> Iterator[Path]:
    """The file to which a process writes its id to be in it. Skips where we may not make one."""
    for place, limit in PLACES.items():
        group = place / f"penstock-{token_hex(6)}"
        with suppress(OSError):
            group.mkdir()
            try:
                (group / limit).write_text(str(memory_bytes))
            except OSError:
                group.rmdir()
                continue
            break
    else:
        pytest.skip("no control group of ours can be made here")
    try:
        yield group / "cgroup.procs"
    finally:
        with suppress(OSError):  # a process in it is still ending
            group.rmdir()
