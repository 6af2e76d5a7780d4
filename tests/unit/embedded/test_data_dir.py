"""The directory that one stack holds at a time."""

import fcntl
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.embedded.data_dir import DataDir
from penstock.embedded.ports import SERVICE_PORTS
from penstock.errors import StackError

HOLD = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(fd, fcntl.LOCK_EX)
os.pwrite(fd, f"{os.getpid()}\\n".encode(), 0)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder_pid(tmp_path: Path) -> Iterator[int]:
    """Another process that holds the lock of `tmp_path`."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield holder.pid
        holder.communicate()


@pytest.fixture
def ended_pid() -> int:
    with subprocess.Popen(["true"]) as process:
        pass
    return process.pid


async def test_a_directory_in_use_is_refused_with_the_pid(tmp_path: Path, holder_pid: int) -> None:
    with pytest.raises(StackError, match=rf"{tmp_path} is in use by another `penstock up` \(pid {holder_pid}\)"):
        async with DataDir(tmp_path):
            pass


async def test_a_directory_is_free_again_when_its_holder_has_left(tmp_path: Path) -> None:
    async with DataDir(tmp_path):
        pass
    async with DataDir(tmp_path) as directory:
        assert (directory.path / "lock").read_text() == f"{os.getpid()}\n"


async def test_what_a_killed_holder_left_running_is_waited_for(
    tmp_path: Path, ended_pid: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pid in the lock is gone, but something that it started still holds the lock."""
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    os.write(lock, f"{ended_pid}\n".encode())
    fcntl.flock(lock, fcntl.LOCK_EX)
    tries = []

    def flock(fd: int, operation: int) -> None:
        tries.append(fd)
        if len(tries) == 3:
            os.close(lock)
        real_flock(fd, operation)

    real_flock = fcntl.flock
    monkeypatch.setattr("penstock.embedded.data_dir.fcntl.flock", flock)
    async with DataDir(tmp_path):
        assert len(tries) == 3


async def test_a_directory_that_cannot_be_written_to_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    with pytest.raises(StackError, match=f"cannot write to {tmp_path}: Is a directory"):
        async with DataDir(tmp_path):
            pass


async def test_a_secret_stays_the_same_and_is_ours_alone(tmp_path: Path) -> None:
    async with DataDir(tmp_path) as directory:
        first = directory.secret("postgres")
    async with DataDir(tmp_path) as directory:
        assert directory.secret("postgres") == first
        assert directory.secret("valkey") != first
        assert (directory.path / "secrets" / "postgres").stat().st_mode & 0o777 == 0o600
        assert (directory.path / "secrets").stat().st_mode & 0o777 == 0o700
    assert len(first) == 32


async def test_a_new_directory_is_closed_unless_others_must_pass(tmp_path: Path) -> None:
    async with DataDir(tmp_path / "closed") as closed, DataDir(tmp_path / "open", searchable=True) as searchable:
        assert closed.path.stat().st_mode & 0o777 == 0o700
        assert searchable.path.stat().st_mode & 0o777 == 0o711


async def test_ports_stay_what_they_were(tmp_path: Path) -> None:
    async with DataDir(tmp_path) as directory:
        first, moves = directory.ports(["kafka", "postgres"])
        assert set(first.values()) < set(SERVICE_PORTS)
        assert moves == []
    async with DataDir(tmp_path) as directory:
        assert directory.ports(["kafka", "postgres"]) == (first, [])
        more, _ = directory.ports(["sink health"])
        assert not set(more.values()) & set(first.values())
        assert directory.ports(["kafka", "sink health"])[0] == {"kafka": first["kafka"], **more}


async def test_a_port_that_another_program_took_is_left_and_named(tmp_path: Path) -> None:
    async with DataDir(tmp_path) as directory:
        first, _ = directory.ports(["kafka"])
        with socket.create_server(("127.0.0.1", first["kafka"])):
            second, moves = directory.ports(["kafka"])
    assert second != first
    assert moves == [f"port {first['kafka']} (kafka) is taken by another program; kafka is now on {second['kafka']}"]
    assert json.loads((tmp_path / "ports.json").read_text()) == second


async def test_a_port_that_was_chosen_is_nobody_elses_though_nothing_listens_there_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.embedded.ports.SERVICE_PORTS", range(19_100, 19_106))
    async with DataDir(tmp_path / "one") as one, DataDir(tmp_path / "other") as other:
        first, _ = one.ports(["kafka", "postgres", "valkey"])
        second, _ = other.ports(["kafka", "postgres", "valkey"])
        assert set(first.values()).isdisjoint(second.values())
        with socket.create_server(("127.0.0.1", first["kafka"])):
            pass


async def test_a_port_that_somebody_of_ours_will_listen_on_is_left_as_well(tmp_path: Path) -> None:
    async with DataDir(tmp_path) as directory:
        first, _ = directory.ports(["kafka"])
        second, moves = directory.ports(["kafka", "sink health"], avoid=[first["kafka"]])
    assert first["kafka"] not in second.values()
    assert [move.split()[1] for move in moves] == [str(first["kafka"])]


async def test_a_new_port_is_none_that_a_service_has_though_it_may_be_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.embedded.ports.SERVICE_PORTS", range(28_000, 28_100))
    async with DataDir(tmp_path) as directory:
        taken, _ = directory.ports([f"service {number}" for number in range(20)])
        assert {directory.free_port() for _ in range(50)}.isdisjoint(taken.values())


@pytest.mark.parametrize(
    ("host", "family"),
    [
        pytest.param(
            "::1",
            socket.AF_INET6,
            marks=pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6"),
        ),
        ("127.0.0.2", socket.AF_INET),
    ],
)
async def test_a_port_is_free_where_its_server_will_listen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, family: socket.AddressFamily
) -> None:
    monkeypatch.setattr("penstock.embedded.ports.SERVICE_PORTS", range(19_110, 19_112))
    async with DataDir(tmp_path) as directory:
        (tmp_path / "ports.json").write_text('{"gateway-2": 19110}')
        with socket.create_server((host, 19_110), family=family):
            ports, moves = directory.ports(["gateway-2"], host=host)
        assert ports == {"gateway-2": 19_111}
        assert moves == ["port 19110 (gateway-2) is taken by another program; gateway-2 is now on 19111"]
    async with DataDir(tmp_path / "new") as directory:
        with socket.create_server((host, 19_110), family=family):
            assert directory.free_port(host) == 19_111


@pytest.mark.parametrize(("host", "told"), [("2001:db8::1", "[2001:db8::1]"), ("192.0.2.1", "192.0.2.1")])
async def test_a_host_that_is_not_this_machine_is_told_in_one_line(tmp_path: Path, host: str, told: str) -> None:
    async with DataDir(tmp_path) as directory:
        with pytest.raises(StackError, match=rf"^cannot listen on {re.escape(told)}:2\d{{4}}: Cannot assign"):
            directory.free_port(host)


async def test_where_a_bound_port_can_be_shared_by_nobody_none_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS: a held port would keep its own service from it."""
    monkeypatch.setattr("penstock.embedded.ports._can_be_held", lambda: False)
    async with DataDir(tmp_path) as directory:
        chosen, _ = directory.ports(["kafka"])
        with socket.socket() as server:
            server.bind(("127.0.0.1", chosen["kafka"]))  # without SO_REUSEADDR


@pytest.mark.parametrize(
    "content",
    [
        *("[1]", "{", "null", '{"kafka": "many"}', '{"kafka": 0}', '{"kafka": 65536}', '{"kafka": 1e999}'),
        '{"kafka": 21000, "postgres": 21000}',
    ],
)
async def test_ports_that_somebody_damaged_are_told_in_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "ports.json").write_text(content)
    async with DataDir(tmp_path) as directory:
        with pytest.raises(StackError, match=r"ports\.json is not a JSON object of ports"):
            directory.ports(["kafka"])


async def test_the_log_of_the_run_before_is_kept_beside(tmp_path: Path) -> None:
    async with DataDir(tmp_path) as directory:
        directory.log("kafka").write_text("first")
        directory.log("kafka").write_text("second")
        assert (tmp_path / "logs" / "kafka.log.1").read_text() == "first"
