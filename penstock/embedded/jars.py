"""The jars that make a Kafka broker: which, how large, and what their bytes must be."""

from dataclasses import dataclass
from pathlib import Path

from penstock.errors import StackError

PINS = Path(__file__).with_name("kafka-jars.txt")


@dataclass(frozen=True, order=True)
class Jar:
    """One artifact in a Maven repository, and the sha256 of its file in hexadecimal."""

    group: str
    artifact: str
    version: str
    sha256: str
    size_bytes: int

    @property
    def coordinate(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"

    @property
    def file_name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"

    @property
    def repository_path(self) -> str:
        """Where every Maven repository keeps it."""
        return f"{self.group.replace('.', '/')}/{self.artifact}/{self.version}/{self.file_name}"


def parse_pins(text: str) -> tuple[Jar, ...]:
    """Lines `group:artifact:version sha256 bytes`; empty lines and `#` comments are skipped."""
    lines = (line.strip() for line in text.splitlines())
    return tuple(parse_pin(line) for line in lines if line and not line.startswith("#"))


def parse_pin(line: str) -> Jar:
    coordinate, sha256, size = line.split()
    group, artifact, version = coordinate.split(":")
    return Jar(group, artifact, version, sha256, int(size))


def kafka_version(jars: tuple[Jar, ...]) -> str:
    for jar in jars:
        if jar.artifact == "kafka-server":
            return jar.version
    raise StackError(f"{PINS.name} names no kafka-server")
