"""A run that takes longer than its model may, where nothing can stop it but the end of the process."""

import subprocess
import sys

import pytest

from workers.inference.backends.watchdog import RUN_LIMIT_STATUS

PROGRAM = """
import ctypes, faulthandler, sys, threading, time
from workers.inference.backends import watchdog
from workers.inference.backends.watchdog import RUNNING_JOBS, WATCH, WatchedBackend

watchdog.GRACE_S = float(sys.argv[4])

class Model:
    def run(self, inputs, parameters):
        inputs["what"]()
        return {}

    def close(self):
        pass

def return_at_once(): pass
def take_longer(): time.sleep(1.0)
def hang(): threading.Event().wait()
def hang_with_the_gil(): ctypes.PyDLL(None).sleep(3600)

def hold_the_gil(seconds): ctypes.PyDLL(None).usleep(int(seconds * 1e6))
def load():
    with WATCH.loading():
        loads.set()
        hold_the_gil(1.2)
def load_beside():
    threading.Thread(target=load).start()
    loads.wait()

def load_beside_unannounced():
    threading.Thread(target=hold_the_gil, args=(1.2,)).start()

timers = []
set_timer, cancel_timer = faulthandler.dump_traceback_later, faulthandler.cancel_dump_traceback_later
faulthandler.dump_traceback_later = lambda *given, **named: (timers.append(given), set_timer(*given, **named))
faulthandler.cancel_dump_traceback_later = lambda: (timers.clear(), cancel_timer())

loads = threading.Event()
backend = WatchedBackend(Model(), "model/1", 0.4)
other = WatchedBackend(Model(), "model/2", 3600.0)
jobs, what, runs = sys.argv[1:4]
RUNNING_JOBS.set(jobs.split())
for _ in range(int(runs)):
    other.run({"what": return_at_once}, {})
    backend.run({"what": globals()[what]}, {})
    other.run({"what": return_at_once}, {})
backend.close()
print("closed, and a timer is set" if timers else "closed")
"""


def ended(jobs: str, what: str, runs: int = 1, grace_s: float = 0.2) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, jobs, what, str(runs), str(grace_s)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_a_run_that_hangs_ends_the_process_which_says_with_what_and_where() -> None:
    process = ended("job-1 job-2", "hang")
    assert process.returncode == RUN_LIMIT_STATUS
    assert "jobs=['job-1', 'job-2']" in process.stdout
    assert "in hang" in process.stderr


def test_a_run_that_hangs_and_keeps_the_interpreter_to_itself_ends_the_process_as_well() -> None:
    process = ended("job-1", "hang_with_the_gil")
    assert process.returncode == RUN_LIMIT_STATUS
    assert "in hang_with_the_gil" in process.stderr


@pytest.mark.parametrize(("jobs", "what", "runs"), [("job-1", "return_at_once", 10), ("", "take_longer", 1)])
def test_runs_in_time_and_warm_ups_of_any_length_are_let_be(jobs: str, what: str, runs: int) -> None:
    process = ended(jobs, what, runs, grace_s=10.0)
    assert (process.returncode, process.stdout, process.stderr) == (0, "closed\n", "")


def test_a_load_that_holds_the_interpreter_beside_a_run_ends_nothing() -> None:
    process = ended("job-1", "load_beside")
    assert (process.returncode, process.stdout, process.stderr) == (0, "closed\n", "")


def test_what_holds_the_interpreter_for_a_while_is_not_taken_for_a_run_that_hangs() -> None:
    process = ended("job-1", "load_beside_unannounced", grace_s=10.0)
    assert (process.returncode, process.stdout, process.stderr) == (0, "closed\n", "")
