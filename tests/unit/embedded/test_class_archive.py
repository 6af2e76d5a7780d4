"""Which options make a Java VM use, or write, an archive of classes."""

from pathlib import Path

import pytest

from penstock.embedded.class_archive import ClassArchive
from penstock.embedded.java import Java

OPTIONS = ["-XX:+UseSerialGC"]


@pytest.fixture
def complete_java(tmp_path: Path) -> Java:
    """A runtime with an archive of its own classes."""
    home = tmp_path / "jdk"
    (home / "bin").mkdir(parents=True)
    (home / "lib" / "server").mkdir(parents=True)
    (home / "lib" / "server" / "classes.jsa").touch()
    (home / "release").write_text('JAVA_VERSION="21.0.1"\n')
    return Java(home / "bin" / "java", 21)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    directory = tmp_path / "cache"
    directory.mkdir()
    return directory


def test_the_first_broker_writes_and_the_next_one_uses_it(cache: Path, complete_java: Java, tmp_path: Path) -> None:
    archive = ClassArchive(cache, complete_java, OPTIONS)
    written = tmp_path / "written.jsa"
    assert archive.options(written) == [f"-XX:ArchiveClassesAtExit={written}"]
    written.write_bytes(b"classes")
    archive.keep(written)
    (kept,) = cache.iterdir()
    assert kept.read_bytes() == b"classes"
    assert archive.options(written) == [f"-XX:SharedArchiveFile={kept.name}"]


def test_a_broker_that_was_killed_leaves_nothing_to_keep(cache: Path, complete_java: Java, tmp_path: Path) -> None:
    ClassArchive(cache, complete_java, OPTIONS).keep(tmp_path / "written.jsa")
    assert list(cache.iterdir()) == []


def test_another_build_of_java_has_another_archive(cache: Path, complete_java: Java, tmp_path: Path) -> None:
    written = tmp_path / "written.jsa"
    written.write_bytes(b"classes")
    ClassArchive(cache, complete_java, OPTIONS).keep(written)
    (complete_java.home / "release").write_text('JAVA_VERSION="21.0.2"\n')
    assert ClassArchive(cache, complete_java, OPTIONS).options(written) == [f"-XX:ArchiveClassesAtExit={written}"]


def test_a_java_without_an_archive_goes_without_one_if_it_cannot_make_it(cache: Path, tmp_path: Path) -> None:
    java = Java(tmp_path / "bin" / "java", 25)  # which is not there
    archive = ClassArchive(cache, java, OPTIONS)
    archive.prepare({})
    assert archive.options(tmp_path / "written.jsa") == []


def test_a_java_without_an_archive_builds_on_the_one_it_makes(cache: Path, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "java"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nfor option; do case "$option" in -XX:Shared*) touch "${option#*=}";; esac; done\n')
    program.chmod(0o755)
    archive = ClassArchive(cache, Java(program, 25), OPTIONS)
    archive.prepare({"PATH": "/usr/bin:/bin"})
    (base,) = cache.iterdir()
    written = tmp_path / "written.jsa"
    assert archive.options(written) == [f"-XX:SharedArchiveFile={base.name}", f"-XX:ArchiveClassesAtExit={written}"]
    written.touch()
    archive.keep(written)
    (option,) = archive.options(written)
    assert option.startswith(f"-XX:SharedArchiveFile={base.name}:")
