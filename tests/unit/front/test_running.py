"""How a command finds the stack that it is meant for."""

import os
import stat
import subprocess
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from penstock.embedded.data_dir import DataDir
from penstock.errors import StackError
from penstock.running import FILE, GATEWAY_URL, KAFKA, Running, find, published, running_in

NOTHING: dict[str, str] = {}


def running(path: Path, pid: int | None = None) -> Running:
    return Running(
        pid=os.getpid() if pid is None else pid,
        started_at=datetime(2030, 1, 1, tzinfo=UTC),
        data_dir=str(path),
        logs=str(path / "logs"),
        gateway_url="http://127.0.0.1:1234",
        health={"worker": "http://127.0.0.1:1235"},
        environ={GATEWAY_URL: "http://127.0.0.1:1234", KAFKA: "127.0.0.1:1236", "PENSTOCK_TOPIC_PREFIX": "mine"},
    )


@pytest.fixture
async def held(tmp_path: Path) -> AsyncIterator[Path]:
    """A data directory whose lock this process holds."""
    async with DataDir(tmp_path):
        yield tmp_path


@pytest.fixture
def default(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty default data directory."""
    path = tmp_path_factory.mktemp("default")
    monkeypatch.setattr("penstock.running.default_data_dir", lambda _: path)
    return path


def test_what_up_writes_is_found_while_it_runs_and_no_longer(held: Path) -> None:
    with published(running(held)):
        assert running_in(held) == running(held)
    assert running_in(held) is None
    assert not (held / FILE).exists()


def test_only_its_owner_may_read_it_since_it_holds_passwords(held: Path) -> None:
    with published(running(held)):
        assert stat.S_IMODE((held / FILE).stat().st_mode) == 0o600


async def test_what_a_killed_up_left_behind_counts_for_nothing(tmp_path: Path) -> None:
    async with DataDir(tmp_path):
        kept = published(running(tmp_path))
        kept.__enter__()
    assert (tmp_path / FILE).exists()
    assert running_in(tmp_path) is None


def test_what_a_killed_up_left_behind_counts_for_nothing_while_the_next_one_starts(held: Path) -> None:
    with subprocess.Popen(["true"]) as ended:
        pass
    with published(running(held, pid=ended.pid)):
        assert running_in(held) is None


def test_nothing_runs_where_there_is_no_data_directory(tmp_path: Path) -> None:
    assert running_in(tmp_path / "none") is None
    assert running_in(tmp_path) is None


def test_a_file_that_cannot_be_understood_is_told_in_a_line(held: Path) -> None:
    (held / FILE).write_text('{"pid": "x"}')
    with pytest.raises(StackError, match=r"running\.json was written by another version of penstock: Expected `int`"):
        running_in(held)


def test_a_file_of_a_later_version_with_more_in_it_is_read(held: Path) -> None:
    (held / FILE).write_bytes(msgspec.json.encode(msgspec.to_builtins(running(held)) | {"new": [1]}))
    assert running_in(held) == running(held)


def test_another_users_up_is_told_in_a_line(held: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:  # root may open everything
        raise PermissionError

    monkeypatch.setattr("penstock.running.os.open", refuse)
    with pytest.raises(StackError, match="may be read by its owner only"):
        running_in(held)


def test_a_data_directory_that_is_named_goes_before_the_environment(held: Path, default: Path) -> None:
    with published(running(held)):
        found = find(
            held, (GATEWAY_URL,), {GATEWAY_URL: "http://elsewhere", "PENSTOCK_LOG_LEVEL": "debug", "HOME": "/"}
        )
    assert found.gateway_url == "http://127.0.0.1:1234"
    assert found.environ == {**running(held).environ, "HOME": "/"}
    assert found.origin == f"; it is that of the `penstock up` over {held}"


def test_a_data_directory_that_is_named_and_not_in_use_is_an_error(tmp_path: Path, default: Path) -> None:
    with pytest.raises(StackError, match=f"no `penstock up` runs over {tmp_path}"):
        find(tmp_path, (GATEWAY_URL,), {GATEWAY_URL: "http://elsewhere"})


async def test_the_environment_goes_before_the_default_data_directory(default: Path) -> None:
    environ = {GATEWAY_URL: "http://elsewhere/"}
    async with DataDir(default):
        with published(running(default)):
            found = find(None, (GATEWAY_URL,), environ)
            # An empty variable counts as not set, and one that the command does not need says nothing.
            other = find(None, (KAFKA,), {**environ, KAFKA: ""})
    assert (found.gateway_url, found.origin) == ("http://elsewhere", f"; it is what {GATEWAY_URL} names")
    assert found.running is None
    assert other.environ[KAFKA] == "127.0.0.1:1236"


def test_where_nothing_runs_settings_are_as_by_default_and_the_way_out_is_told(default: Path) -> None:
    found = find(None, (KAFKA,), NOTHING)
    assert found.environ == NOTHING
    assert found.gateway_url == "http://localhost:8080"
    assert found.origin == (
        f"; it is the default, since no `penstock up` runs over {default}: "
        "--data-dir or PENSTOCK_KAFKA_BOOTSTRAP_SERVERS names another"
    )
