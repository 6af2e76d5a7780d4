"""Where the stack keeps things, and as whom its database runs."""

import os
import pwd
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

import platformdirs

from penstock.child import Account
from penstock.errors import StackError

CACHE_DIR_VARIABLE = "PENSTOCK_CACHE_DIR"


def default_data_dir(uid: int) -> Path:
    """Where jobs and results stay from one `up` to the next. Raises `StackError` for a user without a home."""
    return Path("/var/lib/penstock") if uid == 0 else _of_user(platformdirs.user_data_path, "--data-dir")


def cache_dir(uid: int, environ: Mapping[str, str]) -> Path:
    """Where what was fetched or unpacked stays. Losing it costs time, nothing else. Raises as `default_data_dir`."""
    chosen = environ.get(CACHE_DIR_VARIABLE)
    if chosen:
        return Path(chosen).absolute()
    return Path("/var/cache/penstock") if uid == 0 else _of_user(platformdirs.user_cache_path, CACHE_DIR_VARIABLE)


def _of_user(place: Callable[[str], Path], instead: str) -> Path:
    try:
        return place("penstock")
    except (RuntimeError, KeyError) as error:
        raise StackError(f"this user has no home directory: set HOME, or name a directory with {instead}") from error


def database_account(uid: int) -> Account | None:
    """Postgres refuses to run as root: `nobody` runs it then. None where we run it ourselves."""
    if uid != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise StackError(
            "Postgres refuses to run as root, and there is no user `nobody`: run as another user"
        ) from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def first_barrier(path: Path, account: Account) -> Path | None:
    """The first directory down to `path`, itself included, that the account may not enter; None if all are open."""
    for directory in (*reversed(path.parents), path):
        status = directory.stat()
        if status.st_uid == account.uid:
            entered = status.st_mode & stat.S_IXUSR
        elif status.st_gid == account.gid:
            entered = status.st_mode & stat.S_IXGRP
        else:
            entered = status.st_mode & stat.S_IXOTH
        if not entered:
            return directory
    return None


def make_directory(path: Path, mode: int) -> Path:
    """Create a directory (and its parents); one that exists keeps its mode. Raises `StackError` where it cannot be."""
    try:
        if not path.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir(exist_ok=True)
            path.chmod(mode)  # whatever the umask says
    except OSError as error:
        raise StackError(f"cannot create {path}: {os.strerror(error.errno or 0)}") from error
    return path
