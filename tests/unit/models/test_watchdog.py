"""A run that takes longer than its model may, where nothing can stop it but the end of the process."""

import subprocess
import sys

import pytest

from workers.inference.backends.watchdog import RUN_LIMIT_STATUS

PROGRAM = """
import ctypes, sys, threading, time
from workers.inference.backends.watchdog import RUNNING_JOBS, WatchedBackend

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

backend = WatchedBackend(Model(), "model/1", 0.4)
jobs, what, runs = sys.argv[1:]
RUNNING_JOBS.set(jobs.split())
for _ in range(int(runs)):
    backend.run({"what": globals()[what]}, {})
backend.close()
print("closed")
"""


def ended(jobs: str, what: str, runs: int = 1) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, jobs, what, str(runs)], capture_output=True, text=True, timeout=30, check=False
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
    process = ended(jobs, what, runs)
    assert (process.returncode, process.stdout, process.stderr) == (0, "closed\n", "")
