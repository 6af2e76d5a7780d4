"""One of our own roles as a child process: `penstock gateway`, `penstock worker`, ..."""

import os
import re
import site
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import penstock
from penstock.child import Launch
from penstock.embedded.ports import LOOPBACK
from penstock.http_probe import answers_ok

REMEMBERED_LINES = 50
LOG_PREFIX = re.compile(r"\S+ \[\w+ *\] ")
# A log line for people, what a traceback ends with, or what a command says before it exits.
ERROR = re.compile(r"\S+ \[(error|critical) *\] |[\w.]+(Error|Exception): |Error: ")
# Our packages' parent: what a role must be able to import from, wherever we were started.
ROOT = Path(penstock.__file__).parent.parent


class Role:
    """A program for `Part`. Ready when `/readyz` at `host` and `health_port` says so.

    A worker need not have all its models for that: who starts a whole stack wants to see the rest, and mend the model
    while it runs.
    """

    start_timeout_s = 180.0  # a worker loads and warms up its models first
    stop_grace_s = 12.0  # and drains what runs when it is stopped

    def __init__(
        self,
        command: str,
        *,
        name: str,
        host: str = LOOPBACK,
        health_port: int,
        env: Mapping[str, str],
        on_line: Callable[[str, str], None],
    ) -> None:
        """`on_line` hears the name and each line of the log, from a thread of its own."""
        self.name = name
        self._host = host
        self.health_port = health_port
        self._command = command
        self._env = dict(env)
        self._on_line = on_line
        self._lines: deque[str] = deque(maxlen=REMEMBERED_LINES)

    @property
    def health_url(self) -> str:
        """/livez, /readyz and /metrics are below it."""
        return url_of(self._host, self.health_port)

    async def prepare(self) -> Launch:
        self._lines.clear()
        return Launch(
            # -P: a folder named like one of our packages, where `up` was called, is not taken for it.
            argv=(sys.executable, "-P", "-m", "penstock", self._command),
            env=self._env | {"PYTHONPATH": import_path(self._env), "PYTHONUNBUFFERED": "1"},
            cwd=Path.cwd(),
            on_line=self._hear,
            wave=1,  # before the services, to leave its consumer groups and close its sessions
        )

    async def ready(self) -> bool:
        return await answers_ok(self._host, self.health_port, "/readyz?exclude=models")

    def explain(self) -> str:
        return reason(list(self._lines))

    def ended(self) -> None:
        """Nothing to do."""

    def _hear(self, line: str) -> None:
        self._lines.append(line)
        self._on_line(self.name, line)


def url_of(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def reason(lines: Sequence[str]) -> str:
    """The last line of a role's log that tells of an error, else the last one; without its time and level."""
    said = [line.strip() for line in lines if line.strip()]
    errors = [line for line in said if ERROR.match(line)]
    told = (errors or said)[-1:]
    return " ".join(LOG_PREFIX.sub("", told[0]).removeprefix("Error: ").split()) if told else ""


def import_path(env: Mapping[str, str]) -> str:
    """PYTHONPATH for a role: the caller's, and a checkout that is not installed."""
    installed = str(ROOT) in {*site.getsitepackages(), site.getusersitepackages()}
    given = [entry for entry in env.get("PYTHONPATH", "").split(os.pathsep) if entry]
    return os.pathsep.join(given if installed else [str(ROOT), *given])
