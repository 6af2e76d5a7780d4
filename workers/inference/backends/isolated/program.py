"""The child: loads one model version and runs it as it is told, until the worker closes the connection or is gone.

Run as `python -m workers.inference.backends.isolated.program <connection> <lifeline> <inputs> <outputs>`, all four of
them file descriptors.
"""

import faulthandler
import fcntl
import os
import pickle
import select
import signal
import sys
from contextlib import suppress
from io import TextIOWrapper
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, TextIO

from runtime.logs import configure_logs, get_logger
from runtime.settings import LogSettings, load
from workers.inference.backends import Backend
from workers.inference.backends.isolated.messages import (
    Answer,
    Done,
    Named,
    Run,
    decode_run,
    encode,
    failed,
    named,
)
from workers.inference.backends.isolated.shared_memory import Segment
from workers.inference.backends.warmup import load_warm
from workers.inference.execution.bad_rows import BadRows
from workers.inference.execution.failures import DEVICE_FAILED_STATUS, DeviceFailed
from workers.inference.models.model_version import ModelVersion

log = get_logger(__name__)
# Of 1000: where memory runs out, the kernel is to end us before the worker.
KILL_ME_FIRST: Final = 500


def main(connection: int, lifeline: int, inputs: int, outputs: int) -> None:
    end_with_the_worker(lifeline)
    for ignored in (signal.SIGINT, signal.SIGTERM):  # they are for the worker, which ends us when it has finished
        signal.signal(ignored, signal.SIG_IGN)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(KILL_ME_FIRST))
    logs = divert_noise()
    sys.stderr = logs
    configure_logs(load(LogSettings), "worker")
    sys.stderr = sys.__stderr__
    serve(Connection(connection), Segment(inputs), Segment(outputs))


def end_with_the_worker(lifeline: int) -> None:
    """Have the kernel kill our process group when the last writer of the `lifeline`, a pipe, is gone.

    Unlike PR_SET_PDEATHSIG this does not mistake the end of the thread that started us for the end of the worker.
    Where the system cannot do it, we go when the run is over: then reading from the connection fails.
    """
    if sys.platform != "linux":
        return
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([lifeline], [], [], 0)[0]:  # it went before we asked
        os._exit(1)


def divert_noise() -> TextIO:
    """The stream for our own log, which is the worker's standard error. What the model prints goes to the worker,
    line by line, which logs it; so does what is written at a crash: where in the code it happened."""
    logs = os.fdopen(os.dup(2), "w", buffering=1)
    os.dup2(1, 2)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(line_buffering=True)
    faulthandler.enable()
    return logs


def serve(connection: Connection, inputs: Segment, outputs: Segment) -> None:
    version: ModelVersion | None = None
    try:
        version, device = pickle.loads(connection.recv_bytes())  # noqa: S301 - from the worker, who started us
        backend = load_warm(version, device)
    except BaseException as error:
        connection.send_bytes(encode(failed(error, version)))
        return
    connection.send_bytes(encode(Done([])))
    while True:
        try:
            order = decode_run(connection.recv_bytes())
        except EOFError:
            backend.close()
            return
        connection.send_bytes(encode(run(backend, order, inputs, outputs, version)))


def run(backend: Backend, order: Run, inputs: Segment, outputs: Segment, version: ModelVersion | None = None) -> Answer:
    try:
        return _run(backend, order, inputs, outputs, version)
    except DeviceFailed as error:  # no later run would do better: the worker starts another process
        log.critical("a model's process ends, since its device failed", reason=str(error), exc_info=error)
        os._exit(DEVICE_FAILED_STATUS)
    # Also what a model raises to leave the process, as `sys.exit` does: it is an answer to this input like any other.
    except BaseException as error:
        return failed(error, version)


def _run(backend: Backend, order: Run, inputs: Segment, outputs: Segment, version: ModelVersion | None) -> Done | Named:
    try:
        return Done(outputs.put(backend.run(inputs.get(order.inputs), order.parameters)))
    except BadRows as rows:
        return named(rows, None if rows.outputs is None else outputs.put(rows.outputs), version)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
