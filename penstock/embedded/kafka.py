"""Apache Kafka, one KRaft node: the real broker as our own child, on loopback."""

import base64
import os
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

from penstock.child import Launch
from penstock.embedded.class_archive import ClassArchive
from penstock.embedded.data_dir import DataDir, replace_file
from penstock.embedded.environment import java_environment
from penstock.embedded.java import find_java
from penstock.embedded.kafka_home import KafkaHome
from penstock.embedded.kafka_probe import serves_clients
from penstock.embedded.kafka_properties import meta_properties, render, server_properties
from penstock.embedded.last_words import last_words
from penstock.embedded.ports import LOOPBACK
from penstock.embedded.threads import in_thread
from penstock.errors import StackError

NO_PROPERTIES: Mapping[str, str] = MappingProxyType({})
VM_OPTIONS = (
    "-XX:+IgnoreUnrecognizedVMOptions",
    "-XX:+UseSerialGC",
    "-XX:-UsePerfData",
    "-XX:+ExitOnOutOfMemoryError",
    "-Xms64m",
    "-Xmx512m",
    "-Xlog:disable",
    "-Xlog:all=error:stderr",
    "-Djava.awt.headless=true",
)
# The second compiler costs processor time in the first minute, and takes a third of it off ever after (decision 21).
# A directory that is thrown away means a short run.
FIRST_COMPILER = ("-XX:TieredStopAtLevel=1",)
BOTH_COMPILERS: tuple[str, ...] = ()
LOG_OPTIONS = (
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    # Who joins and leaves which group is what one most often wants to know.
    "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.coordinator.group=info",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
    "-Dorg.slf4j.simpleLogger.showThreadName=false",
)


class Kafka:
    """A program for `Part`. `bootstrap_servers` is what clients connect to."""

    name = "Kafka"
    start_timeout_s = 60.0  # recovery of many partitions after a crash may take its time
    stop_grace_s = 15.0  # the first one also writes the archive of its classes

    def __init__(
        self,
        *,
        data_dir: DataDir,
        port: int,
        controller_port: int,
        cache_dir: Path,
        environ: Mapping[str, str],
        announce: Callable[[str], None],
        properties: Mapping[str, str] = NO_PROPERTIES,
        compilers: Sequence[str] | None = None,
    ) -> None:
        """`properties` are the broker's own, and win over ours.

        `compilers` are options of the VM beside ours; None chooses by how long the broker is going to run.
        """
        self._data_dir = data_dir
        self._port = port
        self._controller_port = controller_port
        self._environ = environ
        self._properties = dict(properties)
        if compilers is None:
            compilers = FIRST_COMPILER if data_dir.ephemeral else BOTH_COMPILERS
        self.vm_options = (*VM_OPTIONS, *compilers)
        self._home = KafkaHome(cache_dir, environ, announce)
        self._archive: ClassArchive | None = None
        self._log = data_dir.path / "logs" / "kafka.log"

    @property
    def bootstrap_servers(self) -> str:
        return f"{LOOPBACK}:{self._port}"

    async def prepare(self) -> Launch:
        java = await in_thread(find_java, self._environ)
        await self._home.install(java)
        env = java_environment(os.environ)
        self._archive = ClassArchive(self._home.directory, java, self.vm_options)
        await in_thread(self._archive.prepare, env)
        directory = self._data_dir.directory("kafka")
        format_directory(directory / "log", self._home.checkpoint)
        config = directory / "server.properties"
        properties = server_properties(directory / "log", self._port, self._controller_port) | self._properties
        replace_file(config, render(properties))
        scratch = self._empty_scratch(directory)
        self._log = self._data_dir.log("kafka")
        return Launch(
            argv=(
                str(java.program),
                *self.vm_options,
                *self._archive.options(self._written_archive),
                *LOG_OPTIONS,
                f"-Djava.io.tmpdir={scratch}",
                *("-cp", self._home.classpath, "kafka.Kafka", str(config)),
            ),
            env=env,
            cwd=self._home.directory,  # by which the class path finds its jars
            log=self._log,
        )

    async def ready(self) -> bool:
        return await serves_clients(LOOPBACK, self._port)

    def explain(self) -> str:
        return last_words(self._log, ("ERROR", "FATAL", "Exception", "Error:", "Could not"))

    def ended(self) -> None:
        if self._archive is not None:
            self._archive.keep(self._written_archive)
            with suppress(OSError):  # what is left costs room, nothing else
                self._written_archive.unlink(missing_ok=True)

    @property
    def _written_archive(self) -> Path:
        return self._data_dir.path / "kafka" / "tmp" / "classes.jsa"

    @staticmethod
    def _empty_scratch(directory: Path) -> Path:
        """Where the broker unpacks its native libraries; one that was killed leaves them behind."""
        scratch = directory / "tmp"
        with suppress(FileNotFoundError):
            shutil.rmtree(scratch)
        scratch.mkdir(mode=0o700)
        return scratch


def format_directory(log_dir: Path, checkpoint: Path) -> None:
    """Make an empty log directory one of a new cluster; leave a formatted one as it is."""
    if "," in str(log_dir):
        raise StackError(f"Kafka cannot keep its data in {log_dir}: it takes the comma for the end of a name")
    marker = log_dir / "meta.properties"
    if marker.exists():
        return
    log_dir.mkdir(mode=0o700, exist_ok=True)
    shutil.copyfile(checkpoint, log_dir / checkpoint.name)
    replace_file(marker, render(meta_properties(random_id(), random_id())))


def random_id() -> str:
    """128 random bits as Kafka writes them: base64 for URLs, and no dash in front, which would look like an option."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        if not text.startswith("-"):
            return text
