"""`isolation: process` with real children: what they survive, what they leave behind, what crosses."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from structlog.testing import capture_logs

from schemas.errors import (
    ConfigurationError,
    InvalidInput,
    JobError,
    ModelCrashed,
    ModelUnavailable,
    OutOfMemory,
    TimeLimitExceeded,
)
from schemas.tensors import Array
from tests.control_group import control_group
from tests.unit.models.handlers import scan, write_handler
from tests.waiting import eventually_sync
from workers.inference.backends.isolated import backend as isolated_backend
from workers.inference.backends.isolated import child
from workers.inference.backends.isolated.backend import IsolatedBackend
from workers.inference.backends.isolated.child import Child
from workers.inference.execution.bad_rows import BadRows
from workers.inference.execution.failures import DEVICE_FAILED_STATUS, DeviceFailed

# Sums the values of a row; some values are words of command.
ODD = """
    import ctypes, os, resource, signal, sys, time
    from pathlib import Path
    import numpy as np
    from workers.inference.handler import InvalidInput

    def leave(): os._exit(7)
    def segfault(): ctypes.string_at(0)
    def hang(): time.sleep(3600)
    def hang_with_the_gil(): ctypes.PyDLL(None).sleep(3600)
    def be_killed(): os.kill(os.getpid(), signal.SIGKILL)
    def be_told(): os.kill(os.getpid(), signal.SIGTERM); os.kill(os.getpid(), signal.SIGINT)
    def fill_the_memory():
        Path(os.environ["CONTROL_GROUP"]).write_text(str(os.getpid()))
        held = []
        while True: held.append(bytearray(10_000_000))
    def fill_the_address_space():
        before = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (4_000_000_000, before[1]))
        try: bytearray(8_000_000_000)
        finally: resource.setrlimit(resource.RLIMIT_AS, before)
    def sys_exit(): sys.exit(3)
    def refuse(): raise InvalidInput("not this one", param="inputs[0]")
    def fail(): raise ValueError("/secret")
    def chat(): print("said on one"); sys.stderr.write("said on two\\n"); os.system("echo said by another")
    def fork_and_leave():
        if os.fork(): os._exit(7)
        time.sleep(3600)

    COMMANDS = [leave, segfault, hang, hang_with_the_gil, be_killed, be_told, fill_the_address_space, sys_exit, refuse,
                fail, chat, fork_and_leave, fill_the_memory]

    class Handler:
        def predict(self, inputs):
            values = inputs["values"]
            for value in values.ravel():
                if value < 0:
                    COMMANDS[int(-value) - 1]()
            return {"sum": values.sum(axis=1)}
"""
(
    LEAVE,
    SEGFAULT,
    HANG,
    HANG_WITH_THE_GIL,
    BE_KILLED,
    BE_TOLD,
    FILL_THE_ADDRESS_SPACE,
    SYS_EXIT,
    REFUSE,
    FAIL,
    CHAT,
    FORK_AND_LEAVE,
    FILL_THE_MEMORY,
) = (-float(number) for number in range(1, 14))


def values(*rows: float) -> dict[str, Array]:
    return {"values": np.array(rows, np.float32).reshape(-1, 1)}


@contextmanager
def isolated(root: Path, handler: str = ODD, device: str = "cpu", **changes: Any) -> Iterator[IsolatedBackend]:
    write_handler(root, {"handler.py": handler}, isolation="process", **changes)
    backend = IsolatedBackend(scan(root), device)
    backend.load()
    with closing(backend):
        yield backend


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IsolatedBackend]:
    """One for all tests that it survives."""
    with isolated(tmp_path_factory.mktemp("models"), run_limit_seconds=5.0) as backend:
        yield backend


def answers(backend: IsolatedBackend) -> bool:
    return np.array_equal(backend.run(values(1, 2))["sum"], [1.0, 2.0])


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_outputs_are_copies_that_the_next_run_leaves_alone(odd: IsolatedBackend) -> None:
    first = odd.run(values(1, 2))["sum"]
    assert odd.run(values(3, 4))["sum"].tolist() == [3.0, 4.0]
    assert first.tolist() == [1.0, 2.0]


def test_rows_that_the_model_names_cross_with_the_outputs_of_the_others(tmp_path: Path) -> None:
    handler = """
        from workers.inference.handler import BadRows, InvalidInput
        class Handler:
            def predict(self, inputs):
                values = inputs["values"].ravel().tolist()
                if -9.0 in values:
                    raise BadRows({values.index(-9.0): ValueError("secret")})
                return {"sum": [value if value >= 0 else InvalidInput(f"{value:g}") for value in values]}
    """
    with isolated(tmp_path, handler) as backend:
        with pytest.raises(BadRows) as caught:
            backend.run(values(1, -2, 3, -4))
        assert {row: str(error) for row, error in caught.value.errors.items()} == {1: "-2", 3: "-4"}
        assert caught.value.outputs is not None
        assert caught.value.outputs["sum"].tolist() == [1.0, 3.0]
        with pytest.raises(BadRows) as caught:
            backend.run(values(1, -9))
        assert caught.value.outputs is None
        assert isinstance(caught.value.errors[1], JobError)
        assert "secret" not in str(caught.value.errors[1])


def test_large_tensors_make_room_for_themselves(odd: IsolatedBackend) -> None:
    rows = np.arange(1_000_000, dtype=np.float32)
    np.testing.assert_array_equal(odd.run({"values": rows.reshape(-1, 1)})["sum"], rows)
    assert answers(odd)


@pytest.mark.parametrize(
    ("command", "kind", "words"),
    [
        (REFUSE, InvalidInput, "not this one"),
        (FAIL, JobError, r"sums/1 failed on this input \(ValueError\)"),
        (FILL_THE_ADDRESS_SPACE, OutOfMemory, "ran out of memory"),
        (SYS_EXIT, JobError, "SystemExit"),
    ],
)
def test_what_the_model_raises_crosses_and_the_child_lives_on(
    odd: IsolatedBackend, command: float, kind: type[Exception], words: str
) -> None:
    pid = odd.pid
    with pytest.raises(kind, match=words) as caught:
        odd.run(values(1, command))
    assert type(caught.value) is kind
    assert "handler.py" in str(caught.value.__cause__)
    assert answers(odd)
    assert odd.pid == pid


@pytest.mark.parametrize(
    ("command", "words"),
    [(LEAVE, "exit status 7"), (SEGFAULT, "SIGSEGV"), (BE_KILLED, "SIGKILL"), (FORK_AND_LEAVE, "exit status 7")],
)
def test_a_child_that_dies_costs_its_run_and_is_replaced(odd: IsolatedBackend, command: float, words: str) -> None:
    pid = odd.pid
    with pytest.raises(ModelCrashed, match=words):
        odd.run(values(1, command))
    assert answers(odd)
    assert odd.pid != pid


def test_a_child_that_ends_between_two_runs_costs_none(odd: IsolatedBackend) -> None:
    assert answers(odd)
    pid = odd.pid
    os.kill(pid, signal.SIGKILL)
    eventually_sync(lambda: gone(pid))
    assert answers(odd)
    assert odd.pid != pid


def test_a_child_that_ends_with_its_order_unread_costs_no_run(
    odd: IsolatedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert answers(odd)
    pid = odd.pid
    os.kill(pid, signal.SIGSTOP)

    def tell_then_kill(child: Child, order: bytes) -> None:
        tell(child, order)
        if child.pid == pid:
            os.kill(pid, signal.SIGKILL)

    tell = Child.tell
    monkeypatch.setattr(Child, "tell", tell_then_kill)
    assert answers(odd)
    assert odd.pid != pid


def test_a_child_that_fills_the_memory_is_killed_in_the_worker_s_stead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with control_group(256 * 1024 * 1024) as group:
        monkeypatch.setenv("CONTROL_GROUP", str(group))
        with isolated(tmp_path) as backend:
            with pytest.raises(ModelCrashed, match="SIGKILL"):
                backend.run(values(1, FILL_THE_MEMORY))
            assert answers(backend)


def test_a_crash_says_in_the_log_where_it_happened(odd: IsolatedBackend) -> None:
    with capture_logs() as logs:
        with pytest.raises(ModelCrashed):
            odd.run(values(SEGFAULT))
        eventually_sync(lambda: any("in segfault" in line.get("line", "") for line in logs))


@pytest.mark.parametrize("command", [HANG, HANG_WITH_THE_GIL])
def test_a_run_that_hangs_is_cut_off_and_says_where(tmp_path: Path, command: float) -> None:
    with isolated(tmp_path, run_limit_seconds=0.5) as backend, capture_logs() as logs:
        pid = backend.pid
        with pytest.raises(TimeLimitExceeded, match=r"0.5 s"):
            backend.run(values(1, command))
        assert gone(pid)
        assert answers(backend)
        eventually_sync(lambda: any("in hang" in line.get("line", "") for line in logs))


def test_signals_to_the_group_are_the_worker_s(odd: IsolatedBackend) -> None:
    pid = odd.pid
    odd.run(values(BE_TOLD))
    assert answers(odd)
    assert odd.pid == pid
    assert os.getpgid(pid) != os.getpgid(0)


def test_what_the_model_prints_is_logged(odd: IsolatedBackend) -> None:
    with capture_logs() as logs:
        odd.run(values(CHAT))
        eventually_sync(lambda: len([line for line in logs if line["event"] == "printed by a model"]) == 3)
    assert {line["line"] for line in logs} == {"said on one", "said on two", "said by another"}
    assert {line["model"] for line in logs} == {"sums/1"}


def test_none_of_our_sockets_and_files_are_in_the_child(odd: IsolatedBackend, tmp_path: Path) -> None:
    descriptors = Path(f"/proc/{odd.pid}/fd")
    sockets = [link for link in map(os.readlink, descriptors.iterdir()) if link.startswith("socket:")]
    assert len(sockets) == 1  # by which we speak
    assert len(psutil.Process(odd.pid).net_connections()) == 0


def test_the_kernel_is_to_end_the_child_before_the_worker(odd: IsolatedBackend) -> None:
    def score(pid: int) -> int:
        return int(Path(f"/proc/{pid}/oom_score_adj").read_text())

    assert score(odd.pid) > score(os.getpid())


def test_closing_ends_the_child(tmp_path: Path) -> None:
    with isolated(tmp_path) as backend:
        pid = backend.pid
    eventually_sync(lambda: gone(pid))


SLOW_TO_LEAVE = """
    import atexit, time

    class Handler:
        def load(self, context):
            atexit.register(time.sleep, 3600)
        def predict(self, inputs):
            return {"sum": inputs["values"].sum(axis=1)}
"""


def test_nobody_waits_for_a_child_that_takes_its_time_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "LEAVE_WITHIN_S", 3.0)
    with isolated(tmp_path, SLOW_TO_LEAVE) as backend:
        pid = backend.pid
    assert not gone(pid)
    eventually_sync(lambda: gone(pid), what="the child is gone")


class NoRoom:
    """Stands in for what the system refuses: the first `times` calls fail, the others are the real ones."""

    def __init__(self, real: Callable[..., Any], error: Exception, times: int) -> None:
        self._real = real
        self._error = error
        self.times = times

    def __call__(self, *args: Any, **options: Any) -> Any:
        if self.times:
            self.times -= 1
            raise self._error
        return self._real(*args, **options)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


REFUSALS = [
    (child, "_spawn", BlockingIOError(11, "Resource temporarily unavailable")),
    (child, "nameless_memory", OSError(24, "Too many open files")),
    (os, "pidfd_open", OSError(24, "Too many open files")),
    (threading, "Thread", RuntimeError("can't start new thread")),
]


@pytest.mark.parametrize(("where", "name", "error"), REFUSALS, ids=[name for _, name, _ in REFUSALS])
def test_a_child_that_the_system_has_no_room_for_is_started_once_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: Any, name: str, error: Exception
) -> None:
    with isolated(tmp_path) as backend:
        assert answers(backend)
        children = len(psutil.Process().children())
        opened = eventually_sync(descriptors)  # counted in the same way as below, beside an event loop
        # When the child dies, and neither the next nor the one after can be started
        no_room = NoRoom(getattr(where, name), error, times=2)
        monkeypatch.setattr(where, name, no_room)
        with pytest.raises(ModelCrashed):
            backend.run(values(SEGFAULT))
        # Then whoever comes next is served, and nothing is left of the attempts
        assert answers(backend)
        assert no_room.times == 0
        assert len(psutil.Process().children()) == children
        eventually_sync(lambda: descriptors() == opened, what="no descriptor is left open")


def test_a_model_whose_child_cannot_be_had_is_unavailable_and_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with isolated(tmp_path) as backend:
        spawn = NoRoom(child._spawn, BlockingIOError(11, "Resource temporarily unavailable"), times=100)
        monkeypatch.setattr(child, "_spawn", spawn)
        monkeypatch.setattr(isolated_backend, "TRIES_AT_ONCE", 1)
        with pytest.raises(ModelCrashed):
            backend.run(values(SEGFAULT))
        with pytest.raises(ModelUnavailable):
            backend.run(values(1))
        tried = spawn.times
        with pytest.raises(ModelUnavailable):
            backend.run(values(1))
        assert spawn.times == tried  # until the pause is over

        backend._next_try_at = 0.0
        spawn.times = 0
        assert answers(backend)


DEVICE = """
    from pathlib import Path

    class Handler:
        def load(self, context):
            if Path({broken!r}).exists():
                raise RuntimeError("CUDA error: unknown error")
        def predict(self, inputs):
            if (inputs["values"] < 0).any():
                raise RuntimeError("CUDA error: device-side assert triggered")
            return {{"sum": inputs["values"].sum(axis=1)}}
"""


def test_a_child_whose_device_fails_is_replaced(tmp_path: Path) -> None:
    with isolated(tmp_path, DEVICE.format(broken=str(tmp_path / "broken")), "cuda:0") as backend:
        pid = backend.pid
        with pytest.raises(ModelCrashed, match=f"exit status {DEVICE_FAILED_STATUS}"):
            backend.run(values(1, -1))
        assert answers(backend)
        assert backend.pid != pid


def test_a_device_that_fails_the_next_child_as_well_is_the_worker_s_matter(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    with isolated(tmp_path, DEVICE.format(broken=str(broken)), "cuda:0") as backend:
        broken.touch()
        with pytest.raises(ModelCrashed):
            backend.run(values(-1))
        with pytest.raises(DeviceFailed, match="sums/1: the device failed while it was loaded"):
            backend.run(values(1))


def test_a_model_that_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="ZeroDivisionError"), isolated(tmp_path, "1 / 0"):
        pass


def test_a_model_that_dies_of_being_loaded_is_not_served(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigurationError, match=r"sums/1: loading it: .*exit status 9"),
        isolated(tmp_path, "import os; os._exit(9)"),
    ):
        pass


FLAKY = """
    import os
    from pathlib import Path

    class Handler:
        def load(self, context):
            tries = Path({counter!r})
            tries.write_text(tries.read_text() + "+" if tries.exists() else "+")
            if 1 < len(tries.read_text()) < 4:
                os._exit(9)
        def predict(self, inputs):
            if (inputs["values"] < 0).any():
                os._exit(1)
            return {{"sum": inputs["values"].sum(axis=1)}}
"""


def test_a_child_that_dies_while_it_loads_again_is_started_until_it_comes_up(tmp_path: Path) -> None:
    counter = tmp_path / "loads"
    with isolated(tmp_path, FLAKY.format(counter=str(counter))) as backend, capture_logs() as logs:
        with pytest.raises(ModelCrashed):
            backend.run(values(-1))
        assert answers(backend)
    assert counter.read_text() == "++++"
    assert len([line for line in logs if line["event"] == "a model cannot be loaded again"]) == 2


OWNER = """
import sys
from pathlib import Path
import numpy as np
from workers.inference.backends.isolated.backend import IsolatedBackend
from workers.inference.models.repository import ModelRepository

(version,) = ModelRepository(Path(sys.argv[1]), trust="code").scan(["sums"])
backend = IsolatedBackend(version, "cpu")
backend.load()
backend.run({"values": np.ones((100_000, 1), np.float32)})
print(f"child {backend.pid}", flush=True)
backend.run({"values": np.full((1, 1), float(sys.argv[2]), np.float32)})
sys.stdin.read()
"""


@pytest.mark.parametrize("command", [1.0, HANG, HANG_WITH_THE_GIL])
def test_a_worker_that_is_killed_takes_its_child_along_and_leaves_nothing_behind(
    tmp_path: Path, command: float
) -> None:
    write_handler(tmp_path, {"handler.py": ODD}, isolation="process")
    before = {path.name for path in Path("/dev/shm").iterdir()}  # noqa: S108 - looked at, not written to
    worker = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path), str(command)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with worker:
        assert worker.stdout is not None
        pid = next(int(line[6:]) for line in worker.stdout if line.startswith(b"child "))
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        eventually_sync(lambda: gone(pid), 5, "the child is gone")
    left = {path.name for path in Path("/dev/shm").iterdir()} - before  # noqa: S108
    assert not {name for name in left if "PostgreSQL" not in name}
