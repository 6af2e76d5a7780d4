"""Installing the broker from a repository that is a directory, as a machine without a network would."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from penstock.embedded.jars import PINS, parse_pins
from penstock.embedded.java import find_java
from penstock.embedded.kafka_home import KafkaHome
from penstock.embedded.locations import cache_dir
from penstock.errors import StackError
from tests.services import unavailable

JARS = parse_pins(PINS.read_text())


@pytest.fixture
async def repository(tmp_path: Path) -> Path:
    """The jars that this machine already fetched, where a Maven repository would keep them."""
    home = KafkaHome(cache_dir(os.getuid(), os.environ), os.environ, lambda _: None)
    try:
        await home.install(find_java(os.environ))
    except StackError as error:
        unavailable(str(error))
    for jar in JARS:
        place = tmp_path / "repository" / jar.repository_path
        place.parent.mkdir(parents=True)
        place.symlink_to(home.directory / jar.file_name)
    return tmp_path / "repository"


async def test_two_at_once_fetch_once(repository: Path, tmp_path: Path) -> None:
    announced: list[str] = []
    environ = {"PENSTOCK_MAVEN_REPOSITORY_URL": repository.as_uri()}
    homes = [KafkaHome(tmp_path / "cache", environ, announced.append) for _ in range(2)]
    java = find_java({})
    await asyncio.gather(*(home.install(java) for home in homes))
    assert sorted(announced) == [
        "another process is fetching Kafka: waiting for it",
        "fetched Apache Kafka 4.1.1",
        "fetching Apache Kafka 4.1.1 (44 MB)",
    ]
    assert homes[0].checkpoint.is_file()
    announced.clear()
    await homes[0].install(java)
    assert announced == []


async def test_an_interrupted_fetch_goes_on_with_what_is_missing(repository: Path, tmp_path: Path) -> None:
    announced: list[str] = []
    home = KafkaHome(tmp_path / "cache", {"PENSTOCK_MAVEN_REPOSITORY_URL": repository.as_uri()}, announced.append)
    home.directory.mkdir(parents=True)
    smallest = min(JARS, key=lambda jar: jar.size_bytes)
    for jar in JARS:
        if jar != smallest:
            shutil.copyfile(repository / jar.repository_path, home.directory / jar.file_name)
    await home.install(find_java({}))
    assert announced[0] == "fetching Apache Kafka 4.1.1 (0 MB)"


async def test_a_repository_that_lacks_a_jar_is_told_in_one_line(repository: Path, tmp_path: Path) -> None:
    (repository / JARS[0].repository_path).unlink()
    home = KafkaHome(tmp_path / "cache", {"PENSTOCK_MAVEN_REPOSITORY_URL": repository.as_uri()}, lambda _: None)
    with pytest.raises(StackError, match=rf"cannot fetch {JARS[0].file_name} from file://"):
        await home.install(find_java({}))
    assert not home.checkpoint.exists()
