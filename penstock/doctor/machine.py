"""This machine: room on the disk, open files, and a Java for the Kafka of `penstock up`."""

import resource
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from penstock.doctor.examining import in_thread
from penstock.doctor.findings import Finding, Level, Tell
from penstock.embedded.java import find_java
from penstock.errors import StackError

SUBJECT = "machine"
GIB = 1024**3
LITTLE_BYTES = 5 * GIB
TOO_LITTLE_BYTES = GIB
# What a gateway takes connections for by default, and a broker's files beside them.
ENOUGH_FILES = 4096


class MachineCheck:
    """`needs_java`: a Kafka is to run here."""

    def __init__(self, data_dir: Path, environ: Mapping[str, str], *, needs_java: bool) -> None:
        self._data_dir = data_dir
        self._environ = environ
        self._needs_java = needs_java

    async def __call__(self, tell: Tell) -> None:
        place = next(each for each in (self._data_dir, *self._data_dir.absolute().parents) if each.exists())
        tell(room(place, (await in_thread(partial(shutil.disk_usage, place))).free))
        tell(open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[0]))
        if self._needs_java:
            tell(await in_thread(partial(java, self._environ)))


def room(place: Path, free_bytes: int) -> Finding:
    told = f"{free_bytes / GIB:.1f} GiB are free at {place}"
    if free_bytes >= LITTLE_BYTES:
        return Finding(SUBJECT, Level.OK, told)
    level = Level.PROBLEM if free_bytes < TOO_LITTLE_BYTES else Level.WARNING
    return Finding(SUBJECT, level, told, "make room, or choose another place with --data-dir")


def open_files(most: int) -> Finding:
    if most == resource.RLIM_INFINITY or most >= ENOUGH_FILES:
        count = "without a limit" if most == resource.RLIM_INFINITY else str(most)
        return Finding(SUBJECT, Level.OK, f"a process may open files: {count}")
    told = f"a process may open {most} files only: a gateway takes fewer connections, and Kafka may run out of them"
    return Finding(SUBJECT, Level.WARNING, told, f"ulimit -n {ENOUGH_FILES}")


def java(environ: Mapping[str, str]) -> Finding:
    try:
        found = find_java(environ)
    except StackError as error:
        return Finding(SUBJECT, Level.PROBLEM, str(error))
    return Finding(SUBJECT, Level.OK, f"Java {found.major} for Kafka at {found.program}")
