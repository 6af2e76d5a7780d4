"""Compares the pinned jars of the embedded Kafka with what Maven itself resolves: names, versions, bytes.

    python tools/check_kafka_pins.py [--write]

Exits with 0 if they agree, 1 if they differ (each difference is told), 3 if there is no Maven to ask. `--write` makes
the pins what Maven says, for a new version of Kafka: change `ROOTS` first.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parent.parent))

from penstock.embedded.jars import PINS, Jar, parse_pins

# The broker, and the binding through which it logs: the smallest there is for the slf4j that Kafka brings.
ROOTS = ("org.apache.kafka:kafka_2.13:4.1.1", "org.slf4j:slf4j-simple:1.7.36")
HEADER = f"""\
# Apache Kafka as a broker: what Maven resolves at run time for {ROOTS[0]}, and
# {ROOTS[1]}, through which it logs. Checked against Maven by tools/check_kafka_pins.py.
# group:artifact:version sha256 bytes
"""
NO_MAVEN = 3


class MavenFailed(Exception):
    """Maven could not resolve; holds what it said."""


def project(roots: Sequence[str]) -> str:
    """A Maven project that depends on `roots` and nothing else."""
    dependencies = "".join(
        "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>".format(
            *root.split(":")
        )
        for root in roots
    )
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>io.penstock</groupId><artifactId>pins</artifactId><version>1</version>"
        f"<dependencies>{dependencies}</dependencies></project>"
    )


def resolve(maven: str, roots: Sequence[str]) -> tuple[Jar, ...]:
    """The runtime jars of `roots` as Maven resolves and fetches them. Raises `MavenFailed`."""
    with tempfile.TemporaryDirectory(prefix="penstock-pins-") as scratch:
        pom = Path(scratch, "pom.xml")
        pom.write_text(project(roots))
        copied = Path(scratch, "jars")
        command = [maven, "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", "-DincludeScope=runtime"]
        layout = [f"-DoutputDirectory={copied}", "-Dmdep.useRepositoryLayout=true"]
        done = subprocess.run([*command, *layout], capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode != 0:
            raise MavenFailed(done.stdout.strip() or done.stderr.strip())
        return tuple(sorted(jar_of(file, copied) for file in copied.rglob("*.jar")))


def jar_of(file: Path, repository: Path) -> Jar:
    *group, artifact, version, _ = file.relative_to(repository).parts
    content = file.read_bytes()
    return Jar(".".join(group), artifact, version, hashlib.sha256(content).hexdigest(), len(content))


def differences(pinned: Sequence[Jar], resolved: Sequence[Jar]) -> list[str]:
    """One sentence a difference; empty where both agree."""
    ours = {f"{jar.group}:{jar.artifact}": jar for jar in pinned}
    theirs = {f"{jar.group}:{jar.artifact}": jar for jar in resolved}
    told = []
    for name in sorted({*ours, *theirs}):
        if name not in theirs:
            told.append(f"{ours[name].coordinate} is pinned, and Maven does not need it")
        elif name not in ours:
            told.append(f"{theirs[name].coordinate} is not pinned, and Maven needs it")
        elif ours[name].version != theirs[name].version:
            told.append(f"{ours[name].coordinate} is pinned, and Maven takes {theirs[name].version}")
        elif ours[name] != theirs[name]:
            told.append(f"{ours[name].coordinate} has other bytes than those that are pinned")
    return told


def render(jars: Sequence[Jar]) -> str:
    return HEADER + "".join(f"{jar.coordinate} {jar.sha256} {jar.size_bytes}\n" for jar in sorted(jars))


def main(arguments: Sequence[str]) -> int:
    maven = shutil.which("mvn")
    if maven is None:
        click.echo("skipped: there is no mvn on the PATH to compare the pins with")
        return NO_MAVEN
    try:
        resolved = resolve(maven, ROOTS)
    except MavenFailed as error:
        click.echo(f"Maven could not resolve {', '.join(ROOTS)}: {error}")
        return 1
    if "--write" in arguments:
        PINS.write_text(render(resolved))
        click.echo(f"wrote {len(resolved)} pins to {PINS.name}")
        return 0
    told = differences(parse_pins(PINS.read_text()), resolved)
    click.echo("\n".join(told) or f"{len(resolved)} pins are what Maven resolves")
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
