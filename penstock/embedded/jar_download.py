"""Fetching jars from a Maven repository: in parallel, each verified before it gets its name."""

import hashlib
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from http.client import HTTPException
from importlib import util
from pathlib import Path
from urllib.parse import urlsplit

from penstock.embedded.jars import Jar
from penstock.errors import StackError
from runtime.backoff import delays_s

CONNECTIONS = 8
TRIES = 3
TIMEOUT_S = 30
CHUNK_BYTES = 65_536
# A directory is as good a repository as a server: for machines that reach none.
SCHEMES = ("https", "http", "file")


class JarDownload:
    """Brings every jar into `directory`. Raises `StackError` for the first one that cannot be had.

    `on_bytes` hears of each chunk, from several threads.
    """

    def __init__(self, repository_url: str, directory: Path, on_bytes: Callable[[int], None]) -> None:
        self._repository_url = repository_url.rstrip("/")
        self._directory = directory
        self._on_bytes = on_bytes
        self._given_up = threading.Event()
        self._trust = trusted_authorities()

    def run(self, jars: Sequence[Jar]) -> None:
        if urlsplit(self._repository_url).scheme not in SCHEMES:
            raise StackError(f"{self._repository_url} is no repository: its address begins with https, http or file")
        with ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="jar") as pool:
            # The largest first: the last to finish is then a small one.
            ordered = sorted(jars, key=lambda jar: -jar.size_bytes)
            futures = [pool.submit(self._bring, jar) for jar in ordered]
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            failure = next((error for future in done if (error := future.exception())), None)
            if failure is not None:
                self.give_up()
                pool.shutdown(cancel_futures=True)
                raise failure

    def give_up(self) -> None:
        """Let every thread end at its next chunk; does nothing to what is complete."""
        self._given_up.set()

    def _bring(self, jar: Jar) -> None:
        target = self._directory / jar.file_name
        for attempt, delay_s in zip(range(1, TRIES + 1), delays_s(), strict=False):
            try:
                self._fetch(jar, target)
            except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
                if isinstance(error, urllib.error.HTTPError):
                    error.close()  # it holds the connection
                if attempt == TRIES or is_final(error):
                    raise StackError(self._unreachable(jar, error)) from error
                self._given_up.wait(delay_s)
            except OSError as error:
                raise StackError(f"cannot write {target}: {error.strerror}") from error
            else:
                return

    def _fetch(self, jar: Jar, target: Path) -> None:
        partial = target.with_name(f"{target.name}.partial")
        url = f"{self._repository_url}/{jar.repository_path}"
        counted = 0
        digest = hashlib.sha256()
        try:
            with partial.open("wb") as file:
                for chunk in self._chunks(url):
                    file.write(chunk)
                    digest.update(chunk)
                    counted += len(chunk)
                    self._on_bytes(len(chunk))
            refuse_other_content(url, jar, counted, digest.hexdigest())
            partial.replace(target)
        except BaseException:
            self._on_bytes(-counted)
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise

    def _chunks(self, url: str) -> Iterator[bytes]:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S, context=self._trust) as answer:  # noqa: S310 - see SCHEMES
            while chunk := answer.read(CHUNK_BYTES):
                if self._given_up.is_set():
                    raise StackError(f"stopped while fetching {url}")
                yield chunk

    def _unreachable(self, jar: Jar, error: Exception) -> str:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        return (
            f"cannot fetch {jar.file_name} from {self._repository_url}: {reason}. Kafka is fetched once; "
            "PENSTOCK_MAVEN_REPOSITORY_URL may name another repository, PENSTOCK_KAFKA_BOOTSTRAP_SERVERS another Kafka"
        )


def trusted_authorities() -> ssl.SSLContext:
    """The system's; on a Python that came without any (macOS installers), those of `certifi`, if it is there."""
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"] and util.find_spec("certifi"):
        import certifi  # noqa: PLC0415 - comes with jgo's client, but nothing of ours asks for it

        context.load_verify_locations(certifi.where())
    return context


def refuse_other_content(url: str, jar: Jar, received_bytes: int, sha256: str) -> None:
    if received_bytes < jar.size_bytes:  # a connection that is cut off is no error of `urlopen`'s
        raise ConnectionError(f"it ended after {received_bytes} of {jar.size_bytes} bytes")
    if sha256 != jar.sha256:
        raise StackError(f"{url} is not the file that we pinned: its sha256 is {sha256}, not {jar.sha256}")


def is_final(error: Exception) -> bool:
    """Whether asking again would be answered the same."""
    return isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code not in {408, 429}


def is_intact(path: Path, jar: Jar) -> bool:
    if not path.is_file() or path.stat().st_size != jar.size_bytes:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == jar.sha256
