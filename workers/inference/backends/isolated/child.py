"""The worker's side of a child: started, told what to run, killed."""

import os
import pickle
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from multiprocessing.connection import Connection, Pipe
from typing import IO, Any, Final

from runtime.logs import get_logger
from schemas.tensors import Array
from workers.inference.backends.isolated.messages import Answer, Run, decode_answer, encode
from workers.inference.backends.isolated.shared_memory import Place, Segment, nameless_memory
from workers.inference.models.model_version import ModelVersion

log = get_logger(__name__)

PROGRAM: Final = f"{__package__}.program"
LONGEST_LINE: Final = 4096  # characters; what a model prints beyond that is logged in pieces
TRACE_WITHIN_S: Final = 1.0
LEAVE_WITHIN_S: Final = 5.0


class Child:
    """A process that holds one model version. It ends with us, whatever ends us; nothing that it starts outlives it.

    It is spawned, not forked: neither our threads nor our connections are in it.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._opened = ExitStack()
        self._poll = select.poll()
        self._process: subprocess.Popen[bytes]
        self._connection: Connection[bytes, bytes]
        self._inputs: Segment
        self._outputs: Segment

    def start(self, version: ModelVersion, device: str) -> None:
        """Start the process and tell it what to load. Returns at once: `answer` tells when it is done.

        Raises `OSError` or `RuntimeError` where the system has no room for another; nothing is left of it then.
        """
        with ExitStack() as opening:
            self._connection, theirs = Pipe()
            opening.callback(self._connection.close)
            with ExitStack() as handed_over:
                handed_over.callback(theirs.close)
                alive, lifeline = os.pipe()
                handed_over.callback(os.close, alive)
                opening.callback(os.close, lifeline)
                self._inputs = Segment(nameless_memory("inputs"))
                opening.callback(self._inputs.close)
                self._outputs = Segment(nameless_memory("outputs"))
                opening.callback(self._outputs.close)
                self._process = _spawn(theirs.fileno(), alive, self._inputs.memory, self._outputs.memory)
            opening.callback(self._end_process)
            self._log_noise()
            self._poll.register(self._connection.fileno(), select.POLLIN)
            if sys.platform == "linux":
                # A process that the model forked may hold the connection open after its parent's death.
                exited = os.pidfd_open(self._process.pid)
                opening.callback(os.close, exited)
                self._poll.register(exited, select.POLLIN)
            with suppress(BrokenPipeError, ConnectionError):  # it is gone already, and `answer` will say so
                self.tell(pickle.dumps((version, device)))
            self._opened = opening.pop_all()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether it is gone, or out of step: it has nothing to say before it is told something."""
        return bool(self._poll.poll(0))

    def order(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any]) -> bytes:
        """A run, ready to be told. Raises what the inputs make it raise, `MemoryError` where there is no room for them:
        neither is the child's fault."""
        try:
            return encode(Run(self._inputs.put(inputs), dict(parameters)))
        except OSError as error:
            raise MemoryError(f"no shared memory for a model's inputs ({error.strerror})") from error

    def tell(self, order: bytes) -> None:
        """Raises `OSError` where it is gone."""
        self._connection.send_bytes(order)

    def answer(self, limit_s: float | None) -> Answer:
        """What it says to the last thing it was told. Blocks.

        Raises `TimeoutError` after `limit_s` seconds, `EOFError` or `OSError` where it has ended instead, and
        `ValueError` for what no child of ours says. Of these, `ConnectionResetError` says that it never read what it
        was told: a local socket is reset only where its peer closes it with something unread (unix(7)).
        """
        if not self._poll.poll(None if limit_s is None else limit_s * 1000):
            raise TimeoutError
        if not self._connection.poll():
            raise EOFError
        answer: Answer = decode_answer(self._connection.recv_bytes())
        return answer

    def outputs(self, places: list[Place]) -> dict[str, Array]:
        """Copies of what it has written: the next run overwrites it while these are still being published."""
        return {name: view.copy() for name, view in self._outputs.get(places).items()}

    def leave(self) -> None:
        """Let it free what it holds, and end. Returns at once; it is killed where that takes it too long.

        The worker does not end before it has: it would take the child along, which then leaves its files behind.
        """
        self._connection.close()
        threading.Thread(target=self._see_off, name=f"end of {self._name}").start()

    def _see_off(self) -> None:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(LEAVE_WITHIN_S)
        self.kill()

    def abort(self) -> None:
        """End it, and have it say where it is: its fault handler answers this signal with the stacks of all threads."""
        self._process.send_signal(signal.SIGABRT)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(TRACE_WITHIN_S)
        self.kill()

    def kill(self) -> str:
        """End it, whatever it does, and what it has started. Returns how it ended: `SIGSEGV`, `exit status 1`."""
        self._opened.close()
        status = self._process.wait()
        return f"exit status {status}" if status >= 0 else signal.Signals(-status).name

    def _end_process(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _log_noise(self) -> None:
        printed = self._process.stdout
        assert printed is not None  # noqa: S101 - it is a pipe
        with ExitStack() as unread:
            unread.enter_context(printed)
            threading.Thread(target=self._read_noise, args=(printed,), name="noise", daemon=True).start()
            unread.pop_all()

    def _read_noise(self, printed: IO[bytes]) -> None:
        with printed:
            while line := printed.readline(LONGEST_LINE):
                log.info("printed by a model", model=self._name, line=line.decode(errors="replace").rstrip())


def _spawn(*descriptors: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-P", "-m", PROGRAM, *map(str, descriptors)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        pass_fds=descriptors,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,  # a group of its own, for it and whatever it starts
    )
