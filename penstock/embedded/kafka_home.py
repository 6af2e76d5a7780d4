"""The broker's programs on this machine: fetched once into the cache, verified, and made ready to start quickly."""

import asyncio
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from penstock.embedded.environment import java_environment
from penstock.embedded.jar_download import JarDownload, is_intact
from penstock.embedded.jars import PINS, Jar, kafka_version, parse_pins
from penstock.embedded.java import Java
from penstock.embedded.kafka_properties import render, server_properties
from penstock.embedded.locations import make_directory
from penstock.embedded.progress import progress
from penstock.embedded.threads import in_thread
from penstock.errors import StackError
from runtime.extras import install_command

REPOSITORY_VARIABLE = "PENSTOCK_MAVEN_REPOSITORY_URL"
LOCK_POLL_S = 0.1
FORMAT_TIMEOUT_S = 60
# Any: it goes into a directory that is thrown away.
TEMPLATE_CLUSTER_ID = "AAAAAAAAAAAAAAAAAAAAAQ"


class KafkaHome:
    """`directory` holds the jars of one list of pins, and `bootstrap.checkpoint`, once `install` has been through."""

    def __init__(self, cache_dir: Path, environ: Mapping[str, str], announce: Callable[[str], None]) -> None:
        pins = PINS.read_text()
        self._jars = parse_pins(pins)
        self._version = kafka_version(self._jars)
        self._digest = hashlib.sha256(pins.encode()).hexdigest()
        self._environ = environ
        self._announce = announce
        self.directory = cache_dir / f"kafka-{self._version}"

    @property
    def classpath(self) -> str:
        """Of a Java that is started in `directory`: no directory's name can hold what the list is separated by."""
        return os.pathsep.join(jar.file_name for jar in self._jars)

    @property
    def checkpoint(self) -> Path:
        """The feature levels that a new cluster begins with, as Kafka's own tool writes them; the same for each."""
        return self.directory / "bootstrap.checkpoint"

    async def install(self, java: Java) -> None:
        """Fetch what is missing. Raises `StackError` if it cannot be had. Two processes at once fetch once."""
        if self._is_complete():
            return
        make_directory(self.directory, 0o755)
        async with self._alone():
            if self._is_complete():
                return
            missing = await in_thread(self._missing)
            if missing:
                await self._fetch(missing)
            await in_thread(self._write_checkpoint, java)
            self._marker.write_text(self._digest)

    @property
    def _marker(self) -> Path:
        return self.directory / "complete"

    def _is_complete(self) -> bool:
        try:
            marked = self._marker.read_text() == self._digest
        except FileNotFoundError:
            return False
        files = [self.checkpoint, *(self.directory / jar.file_name for jar in self._jars)]
        return marked and all(file.is_file() for file in files)

    def _missing(self) -> list[Jar]:
        return [jar for jar in self._jars if not is_intact(self.directory / jar.file_name, jar)]

    async def _fetch(self, jars: Sequence[Jar]) -> None:
        total_bytes = sum(jar.size_bytes for jar in jars)
        with progress(f"Apache Kafka {self._version}", total_bytes, self._announce) as on_bytes:
            download = JarDownload(repository_url(self._environ), self.directory, on_bytes)
            running = asyncio.ensure_future(asyncio.to_thread(download.run, jars))
            try:
                await asyncio.shield(running)
            except asyncio.CancelledError:
                download.give_up()
                await asyncio.wait([running])
                raise

    def _write_checkpoint(self, java: Java) -> None:
        """Let Kafka's tool format a directory, and keep the part that is the same for every cluster.

        Without it a broker starts too, but with the features of 4.0's first metadata version only: no new consumer
        protocol, no second version of transactions.
        """
        with tempfile.TemporaryDirectory(prefix="penstock-format-") as scratch:
            config = Path(scratch, "server.properties")
            formatted = Path(scratch, "log")
            config.write_text(render(server_properties(formatted, port=9092, controller_port=9093)))
            self._format(java, config)
            partial = self.checkpoint.with_suffix(".partial")
            shutil.copyfile(formatted / self.checkpoint.name, partial)
            partial.replace(self.checkpoint)

    def _format(self, java: Java, config: Path) -> None:
        tool = ("kafka.tools.StorageTool", "format", "--cluster-id", TEMPLATE_CLUSTER_ID, "--config", str(config))
        try:
            done = subprocess.run(  # noqa: S603 - the Java we found, the jars we verified
                [str(java.program), "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", self.classpath, *tool],
                env=java_environment(os.environ),
                cwd=self.directory,
                capture_output=True,
                text=True,
                timeout=FORMAT_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise StackError(f"cannot run {java.program}: {error}") from error
        if done.returncode != 0:
            said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
            raise StackError(f"Kafka's StorageTool failed with {java.program}: {said}")

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        with (self.directory / "lock").open("w") as lock:
            waiting = False
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if not waiting:
                        self._announce("another process is fetching Kafka: waiting for it")
                        waiting = True
                    await asyncio.sleep(LOCK_POLL_S)
                else:
                    break
            yield


def repository_url(environ: Mapping[str, str]) -> str:
    chosen = environ.get(REPOSITORY_VARIABLE)
    if chosen:
        return chosen
    try:
        from jgo.constants import MAVEN_CENTRAL_URL  # noqa: PLC0415 - an extra
    except ImportError:
        raise StackError(f"the package `jgo` is not installed: {install_command('embedded')}") from None
    return str(MAVEN_CENTRAL_URL)
