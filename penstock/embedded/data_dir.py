"""The directory in which a stack keeps everything, held by one stack at a time."""

import asyncio
import contextlib
import fcntl
import json
import os
import secrets
import tempfile
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from penstock.embedded import ports
from penstock.embedded.locations import make_directory
from penstock.embedded.ports import LOOPBACK
from penstock.errors import StackError
from penstock.reaper_program import alive

LOCK: Final = "lock"
LOCK_POLL_S = 0.05
# How long the reaper of a stack that was killed may take to end what it left, and a little more.
PREDECESSOR_GRACE_S = 20.0


class DataDir:
    """Locked while the block lasts. `path` None means a new directory which the reaper removes in the end.

    Contents: `lock` (our process id), `ports.json`, `secrets/` (only we may read), `logs/`, and a directory
    for each service.
    """

    def __init__(self, path: Path | None, *, searchable: bool = False) -> None:
        """`searchable`: others may pass through (not list), since a service runs as another user."""
        self._wanted = path
        self._mode = 0o711 if searchable else 0o700
        self._path: Path | None = None
        self._lock_fd: int | None = None
        self._ports_held = contextlib.ExitStack()

    async def __aenter__(self) -> Self:
        self._path = self._create()
        self._lock_fd = await self._lock(self._path / LOCK)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ports_held.close()
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    @property
    def ephemeral(self) -> bool:
        return self._wanted is None

    @property
    def path(self) -> Path:
        if self._path is None:
            raise RuntimeError("the data directory is not open")
        return self._path

    @property
    def lock_fd(self) -> int:
        """Whoever holds this open holds the directory."""
        if self._lock_fd is None:
            raise RuntimeError("the data directory is not open")
        return self._lock_fd

    def directory(self, name: str, mode: int = 0o700) -> Path:
        return make_directory(self.path / name, mode)

    def log(self, name: str) -> Path:
        """The log file of a service; what the run before wrote stands beside it as `<name>.log.1`."""
        path = self.directory("logs") / f"{name}.log"
        if path.exists():
            path.replace(path.with_suffix(".log.1"))
        return path

    def secret(self, name: str, size_bytes: int = 24) -> str:
        """So many random bytes in base64 as URLs have it, the same at every call and in every run."""
        path = self.directory("secrets") / name
        with contextlib.suppress(FileExistsError):
            write_new(path, secrets.token_urlsafe(size_bytes))
        return path.read_text()

    def ports(
        self, names: Sequence[str], avoid: Collection[int] = (), host: str = LOOPBACK
    ) -> tuple[dict[str, int], list[str]]:
        """A free port for each service, and one sentence about each that is not where it was in the last run.

        None of `avoid`, which somebody of ours will listen on. `host` is where some of them listen beside the loopback
        address.
        """
        path = self.path / "ports.json"
        remembered = read_ports(path)
        usable = {name for name in names if name in remembered and remembered[name] not in avoid}
        hosts = {LOOPBACK, host}
        kept = {
            name: remembered[name]
            for name in names
            if name in usable and all(ports.is_free(remembered[name], each) for each in hosts)
        }
        missing = [name for name in names if name not in kept]
        taken = [*remembered.values(), *avoid]
        new = ports.choose(len(missing), taken, self._ports_held, host)
        chosen = {**kept, **dict(zip(missing, new, strict=True))}
        moves = [
            f"port {remembered[name]} ({name}) is {_taken(remembered[name], avoid)}; {name} is now on {chosen[name]}"
            for name in missing
            if name in remembered
        ]
        if missing:
            replace_file(path, json.dumps({**remembered, **chosen}, indent=2) + "\n")
        return chosen, moves

    def free_port(self, host: str = LOOPBACK) -> int:
        """One on `host` that no service has, nor had in a run before."""
        return ports.choose(1, read_ports(self.path / "ports.json").values(), self._ports_held, host)[0]

    def _create(self) -> Path:
        if self._wanted is None:
            path = Path(tempfile.mkdtemp(prefix="penstock-"))
            path.chmod(self._mode)
            return path
        return make_directory(self._wanted.absolute(), self._mode)

    async def _lock(self, path: Path) -> int:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StackError(f"cannot write to {path.parent}: {os.strerror(error.errno or 0)}") from error
        deadline = time.monotonic() + PREDECESSOR_GRACE_S
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(fd, 32, 0).decode().strip()
                # A stack that was killed holds it for the seconds that its services need to end.
                if is_running(holder) or time.monotonic() > deadline:
                    os.close(fd)
                    raise StackError(f"{path.parent} is in use by another `penstock up` (pid {holder})") from None
                await asyncio.sleep(LOCK_POLL_S)
            else:
                os.ftruncate(fd, 0)
                os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
                return fd


def _taken(port: int, avoid: Collection[int]) -> str:
    return "asked for by somebody else" if port in avoid else "taken by another program"


def is_running(pid: str) -> bool:
    return pid.isdecimal() and alive(int(pid))


def read_ports(path: Path) -> dict[str, int]:
    """Service name -> port. Raises `StackError` if somebody edited the file into something else."""
    if not path.exists():
        return {}
    try:
        return parse_ports(path.read_bytes())
    except (ValueError, TypeError, AttributeError, OverflowError):
        raise StackError(f"{path} is not a JSON object of ports: put it right or delete it") from None


def parse_ports(text: bytes) -> dict[str, int]:
    """Raises `ValueError` and others where these are no ports, or one is there for two services."""
    found = {str(name): int(port) for name, port in json.loads(text).items()}
    if not all(0 < port < 65_536 for port in found.values()) or len(set(found.values())) < len(found):
        raise ValueError("not one port for each")
    return found


def write_new(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file that is not there yet; whoever sees it sees all of it. Raises `FileExistsError`."""
    if path.exists():
        raise FileExistsError(path)
    replace_file(path, text, mode)


def replace_file(path: Path, text: str, mode: int = 0o600) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(fd, "w") as file:
        file.write(text)
    partial.replace(path)
