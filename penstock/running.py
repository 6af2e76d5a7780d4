"""Finds the stack that a command is meant for: that of a running `penstock up`, or the one that the environment names.

`up` writes where everything is into `running.json` in its data directory, for its own user alone to read, and takes it
away in the end. Where `up` was killed the file stays behind; the lock of the directory tells that nobody is there.
"""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from penstock.embedded.data_dir import LOCK, is_running, replace_file
from penstock.embedded.locations import default_data_dir
from penstock.errors import StackError, in_a_line
from runtime.settings import PREFIX

FILE: Final = "running.json"
# Where clients find the HTTP API. The roles have no such setting: they listen.
GATEWAY_URL: Final = "PENSTOCK_GATEWAY_URL"
KAFKA: Final = "PENSTOCK_KAFKA_BOOTSTRAP_SERVERS"
POSTGRES: Final = "PENSTOCK_POSTGRES_DSN"
REDIS: Final = "PENSTOCK_REDIS_URL"
DEFAULT_GATEWAY_URL: Final = "http://localhost:8080"


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """A `penstock up` while it runs, from before its roles are ready.

    `environ` holds the PENSTOCK_* variables that a further role or a command needs, passwords among them. `health`:
    base URL of each role's /livez, /readyz and /metrics, by the role's name. `logs`: folder of the services' logs.
    """

    pid: int
    started_at: datetime
    data_dir: str
    logs: str
    gateway_url: str
    health: dict[str, str]
    environ: dict[str, str]


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """Where a command has to go. `environ`: what to load settings from. `running` is None where no `up` was found.

    `origin` says how it was found, as the end of an error: "; it is what PENSTOCK_GATEWAY_URL names".
    """

    environ: Mapping[str, str]
    running: Running | None = None
    origin: str

    @property
    def gateway_url(self) -> str:
        return (self.environ.get(GATEWAY_URL) or DEFAULT_GATEWAY_URL).rstrip("/")


def find(data_dir: Path | None, variables: tuple[str, ...], environ: Mapping[str, str]) -> Found:
    """The `up` over `data_dir` if one is given; else what one of `variables` names, if it is set in `environ`; else the
    `up` over the default data directory; else what settings are by default.

    Raises `StackError` where nothing runs over `data_dir`, or its files cannot be read.
    """
    if data_dir is not None:
        return _of(running_over(data_dir), environ)
    for name in variables:
        if environ.get(name):
            return Found(environ=environ, origin=f"; it is what {name} names")
    default = default_data_dir(os.getuid())
    running = running_in(default)
    if running is not None:
        return _of(running, environ)
    origin = (
        f"; it is the default, since no `penstock up` runs over {default}: --data-dir or {variables[0]} names another"
    )
    return Found(environ=environ, origin=origin)


def running_over(data_dir: Path | None) -> Running:
    """The `up` over `data_dir`, else over the default data directory. Raises `StackError` where none runs there."""
    if data_dir is not None:
        running, hint = running_in(data_dir), ""
    else:
        data_dir = default_data_dir(os.getuid())
        running, hint = running_in(data_dir), ": --data-dir names another"
    if running is None:
        raise StackError(f"no `penstock up` runs over {data_dir}{hint}")
    return running


def _of(running: Running, environ: Mapping[str, str]) -> Found:
    """Of the command's own settings none counts: they may be of another stack."""
    others = {name: value for name, value in environ.items() if not name.startswith(PREFIX)}
    origin = f"; it is that of the `penstock up` over {running.data_dir}"
    return Found(environ=others | running.environ, running=running, origin=origin)


def running_in(data_dir: Path) -> Running | None:
    """The `up` over this data directory, None where none runs. Raises `StackError` where that cannot be told."""
    try:
        holder = _holder(data_dir / LOCK)
        running = msgspec.json.decode((data_dir / FILE).read_bytes(), type=Running) if holder else None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise StackError(f"{data_dir} may be read by its owner only: run this as the user of `penstock up`") from error
    except OSError as error:
        raise StackError(in_a_line(error)) from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StackError(f"{data_dir / FILE} was written by another version of penstock: {error}") from error
    # Written before the lock was: of a run that was killed.
    return running if running is not None and str(running.pid) == holder else None


def _holder(lock: Path) -> str | None:
    """The process id of the `up` that holds the lock; one that was killed may hold it a while longer, by its reaper."""
    fd = os.open(lock, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)  # given back as the file is closed
    except BlockingIOError:
        holder = os.pread(fd, 32, 0).decode().strip()
        return holder if is_running(holder) else None
    else:
        return None
    finally:
        os.close(fd)


@contextmanager
def published(running: Running) -> Iterator[None]:
    """Other commands find the stack while the block lasts."""
    publish(running)
    try:
        yield
    finally:
        (Path(running.data_dir) / FILE).unlink(missing_ok=True)


def publish(running: Running) -> None:
    """Say something new of a stack that is `published`."""
    text = msgspec.json.format(msgspec.json.encode(running), indent=2).decode() + "\n"
    replace_file(Path(running.data_dir) / FILE, text, mode=0o600)
