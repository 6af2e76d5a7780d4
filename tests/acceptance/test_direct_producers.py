"""The programs of docs/direct-producers.md, each run as its reader runs it."""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from penstock.embedded.jars import PINS, parse_pins
from penstock.embedded.kafka_home import KafkaHome
from penstock.embedded.locations import cache_dir
from penstock.stack import Stack
from schemas.topics import Topics
from tests.acceptance import digits
from tests.acceptance.kcat import kcat_command
from tests.acceptance.repository import EXAMPLES
from tests.programs import node_command, program
from tests.services import unavailable

FOLDER = EXAMPLES / "kafka"
ROW = EXAMPLES / "digits" / "row.json"
ROOT = EXAMPLES.parent
IMAGE = np.asarray(json.loads(ROW.read_text())["instances"], np.float32)
PATIENCE_S = 90
# The JVM compiles the program first.
pytestmark = pytest.mark.timeout(180)


def kcat_example(folder: Path, text: str) -> list[str]:
    """`kcat` is on the path: the real one, or what stands in."""
    if kcat_command() != ["kcat"]:
        stand_in = folder / "kcat"
        stand_in.write_text(f'#!/bin/sh\nexec {" ".join(kcat_command())} "$@"\n')
        stand_in.chmod(0o755)
    (folder / "job.sh").write_text(text)
    return ["sh", "job.sh"]


def javascript_example(folder: Path, text: str) -> list[str]:
    return node_command(folder, "job.mjs", text)


def java_example(folder: Path, text: str) -> list[str]:
    program("javac")  # one file is run by the compiler
    java = program("java")
    (folder / "Job.java").write_text(text)
    return [java, "-XX:+UseSerialGC", "-cp", f"{jars()}/*", "Job.java"]


def python_example(folder: Path, text: str) -> list[str]:
    (folder / "jobs.py").write_text(text)
    return [sys.executable, "jobs.py"]


def jars() -> Path:
    """Kafka's own, the client among them."""
    folder = KafkaHome(cache_dir(os.getuid(), os.environ), os.environ, print).directory
    missing = [jar for jar in parse_pins(PINS.read_text()) if not (folder / jar.file_name).is_file()]
    return unavailable("Kafka's jars are not on this machine") if missing else folder


PROGRAMS: dict[str, Callable[[Path, str], list[str]]] = {
    "job.sh": kcat_example,
    "job.mjs": javascript_example,
    "Job.java": java_example,
    "jobs.py": python_example,
}


def text_of(name: str, topics: Topics) -> str:
    return (FOLDER / name).read_text().replace("penstock.re", f"{topics.prefix}.re")


async def said(command: Sequence[str], folder: Path, stack: Stack, value: bytes) -> str:
    """What a program prints that sends this value."""
    (folder / "row.json").write_bytes(value)
    environ = {
        **os.environ,
        "PENSTOCK_KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap_servers,
        "PATH": f"{folder}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    process = await asyncio.create_subprocess_exec(
        *command, "row.json", cwd=folder, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, errors.decode()
    return output.decode()


def is_answered(line: str) -> bool:
    """By the label that the model itself has for the row."""
    _, _, value = line.partition(" ")
    (row,) = json.loads(value)["predictions"]
    found: bool = row["label"] == str(digits.labels(IMAGE)[0])
    return found


@pytest.mark.parametrize("name", PROGRAMS)
async def test_an_example_gets_its_jobs_answered(name: str, stack: Stack, topics: Topics, tmp_path: Path) -> None:
    output = await said(PROGRAMS[name](tmp_path, text_of(name, topics)), tmp_path, stack, ROW.read_bytes())
    lines = output.splitlines()
    assert len(lines) == (2 if name == "jobs.py" else 1)
    assert all(map(is_answered, lines)), output
    if name != "job.sh":
        assert {line.partition(" ")[0] for line in lines} == {"succeeded"}
