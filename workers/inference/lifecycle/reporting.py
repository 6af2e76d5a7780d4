"""Telling gateways which versions of its repository a worker does not serve, and why."""

import asyncio
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Final

from producers.protocols import Publisher
from producers.worker_reports import REFRESH_S, publish_report
from runtime.clock import Clock
from runtime.logs import get_logger
from runtime.process import instance_name
from runtime.settings import KafkaSettings
from schemas.errors import ConfigurationError, PenstockError, shortened
from schemas.worker_reports import VersionReport, WorkerReport, encode_report

log = get_logger(__name__)

MAX_REASON_CHARACTERS: Final = 500
# As one record, and as many fewer as it takes to fit, with room for what stands around them.
MOST_VERSIONS: Final = 1000
ROOM_BYTES: Final = 4096
LEAVE_WITHIN_S: Final = 2.0
# The folders before a file's name, where a path begins at the root.
_FOLDERS: Final = re.compile(r"(?:(?<![\w.~/-])|(?<=file://))/(?!/)(?:[^\s/:;,'\"`]+/)+")


def reason_for_clients(error: BaseException, repository: Path) -> str:
    """Why a version cannot be loaded, in one line. What a foreign error says may be of the worker's inside: of that
    only the class is told."""
    if isinstance(error, ConfigurationError):
        return without_paths(error.told or error.message, repository)
    return f"{type(error).__name__}; the worker's log has the rest"


@lru_cache(maxsize=256)  # told again with each look at the repository
def without_paths(text: str, repository: Path) -> str:
    """One line of the text, its paths as from the repository; of other absolute ones the file's name is left.

    Names of files need not be text: what of them no record can hold becomes question marks.
    """
    line = " ".join(text.encode("utf-8", "replace").decode().split())
    for root in (repository.resolve(), repository.absolute(), repository):  # the last may be a part of the others
        line = re.sub(rf"(?<![\w.~/-]){re.escape(str(root))}/", "", line)
    return shortened(_FOLDERS.sub("", line), MAX_REASON_CHARACTERS)


def fitting(report: WorkerReport, most_bytes: int) -> WorkerReport:
    """The report, or as many of its first versions as fit."""
    while len(encode_report(report)) > most_bytes:
        first = list(report.versions.items())[: len(report.versions) // 2]
        report = WorkerReport(report.at, dict(first))
    return report


class KafkaReporter:
    """Publishes what it is told when that changes, and again every `REFRESH_S` seconds while it is anything."""

    def __init__(self, settings: KafkaSettings, publisher: Publisher, clock: Clock) -> None:
        self._topics = settings.topics
        self._record_bytes = settings.max_record_bytes
        self._publisher = publisher
        self._clock = clock
        # A worker that keeps its name writes over what it said in its earlier life.
        self._worker = settings.group_instance_id or instance_name()
        self._versions: Mapping[str, VersionReport] = {}
        self._news = asyncio.Event()

    def tell(self, versions: Mapping[str, VersionReport]) -> None:
        if versions != self._versions:
            self._versions = versions
            self._news.set()

    async def run(self) -> None:
        """Run until canceled. The first thing it says is what there is now: an earlier life may have said more."""
        while True:
            self._news.clear()
            await self._publish(self._versions)
            with suppress(TimeoutError):
                async with asyncio.timeout(REFRESH_S if self._versions else None):
                    await self._news.wait()

    async def leave(self) -> None:
        """Take everything back."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_WITHIN_S):
                await self._publish({})

    async def _publish(self, versions: Mapping[str, VersionReport]) -> None:
        report = None
        if versions:
            told = WorkerReport(self._clock(), dict(sorted(versions.items())[:MOST_VERSIONS]))
            report = fitting(told, self._record_bytes - ROOM_BYTES)
        try:
            await publish_report(self._publisher, self._topics, self._worker, report)
        except (
            PenstockError
        ) as error:  # also where the broker takes less than we were told: nobody serves less for that
            log.warning("gateways could not be told which versions are not served", reason=error.message)
