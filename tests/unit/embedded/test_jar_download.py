"""Fetching jars, from a directory and from a server that misbehaves."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from penstock.embedded.jar_download import JarDownload, is_intact
from penstock.embedded.jars import Jar
from penstock.errors import StackError

CONTENT = {"one": b"the first jar" * 9000, "two": b"the second jar"}


def jar(artifact: str, content: bytes) -> Jar:
    return Jar("org.example", artifact, "1.0", hashlib.sha256(content).hexdigest(), len(content))


JARS = [jar(artifact, content) for artifact, content in CONTENT.items()]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    top = tmp_path / "repository"
    for pinned in JARS:
        file = top / pinned.repository_path
        file.parent.mkdir(parents=True)
        file.write_bytes(CONTENT[pinned.artifact])
    return top


@pytest.fixture
def target(tmp_path: Path) -> Path:
    directory = tmp_path / "target"
    directory.mkdir()
    return directory


@contextmanager
def server(answer: Callable[[str], tuple[int, bytes]]) -> Iterator[str]:
    """An HTTP server that answers each path with what `answer` says."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answer(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{served.server_address[1]}/maven"
        finally:
            served.shutdown()
            thread.join()


def names(directory: Path) -> set[str]:
    return {file.name for file in directory.iterdir()}


def test_jars_come_from_a_directory_as_from_a_server(repository: Path, target: Path) -> None:
    JarDownload(repository.as_uri(), target, lambda _: None).run(JARS)
    assert (target / "one-1.0.jar").read_bytes() == CONTENT["one"]
    assert names(target) == {"one-1.0.jar", "two-1.0.jar"}


def test_progress_counts_every_byte_once(repository: Path, target: Path) -> None:
    counts: list[int] = []
    JarDownload(repository.as_uri(), target, counts.append).run(JARS)
    assert sum(counts) == sum(pinned.size_bytes for pinned in JARS)


def test_only_the_pinned_bytes_are_intact(repository: Path) -> None:
    one = repository / JARS[0].repository_path
    assert is_intact(one, JARS[0])
    one.write_bytes(b"x" * JARS[0].size_bytes)
    assert not is_intact(one, JARS[0])
    one.write_bytes(CONTENT["one"][:-1])
    assert not is_intact(one, JARS[0])
    one.unlink()
    assert not is_intact(one, JARS[0])


def test_other_content_than_pinned_never_gets_the_name(repository: Path, target: Path) -> None:
    (repository / JARS[1].repository_path).write_bytes(b"something else")
    with pytest.raises(StackError, match=r"two-1\.0\.jar is not the file that we pinned"):
        JarDownload(repository.as_uri(), target, lambda _: None).run(JARS)
    assert "two-1.0.jar" not in names(target)


def test_a_missing_file_is_told_in_one_line(target: Path) -> None:
    with (
        server(lambda _: (404, b"")) as url,
        pytest.raises(
            StackError, match=r"cannot fetch .* from .*: Not Found\. .*PENSTOCK_MAVEN_REPOSITORY_URL"
        ) as told,
    ):
        JarDownload(url, target, lambda _: None).run(JARS)
    assert "\n" not in str(told.value)
    assert names(target) == set()


def test_a_server_that_fails_once_is_asked_again(target: Path) -> None:
    asked: list[str] = []

    def answer(path: str) -> tuple[int, bytes]:
        asked.append(path)
        if asked.count(path) == 1:
            return 503, b""
        return 200, CONTENT["one" if "one" in path else "two"]

    with server(answer) as url:
        JarDownload(url, target, lambda _: None).run(JARS)
    assert names(target) == {"one-1.0.jar", "two-1.0.jar"}
    assert len(asked) == 4


@pytest.mark.parametrize("cut_off", [1, 9])
def test_a_file_that_was_cut_off_is_asked_for_again_and_told_in_the_end(target: Path, cut_off: int) -> None:
    asked: list[str] = []

    def answer(path: str) -> tuple[int, bytes]:
        asked.append(path)
        return 200, CONTENT["one"][: None if len(asked) > cut_off else 70_000]

    with server(answer) as url:
        download = JarDownload(url, target, lambda _: None)
        if cut_off == 1:
            download.run(JARS[:1])
        else:
            with pytest.raises(
                StackError, match=r"cannot fetch one-1\.0\.jar .*: it ended after 70000 of 117000 bytes"
            ):
                download.run(JARS[:1])
    assert names(target) == ({"one-1.0.jar"} if cut_off == 1 else set())


def test_an_address_where_nobody_listens_is_told_in_one_line(target: Path) -> None:
    with server(lambda _: (200, b"")) as url:
        pass
    with pytest.raises(StackError, match=r"cannot fetch .*Connection refused"):
        JarDownload(url, target, lambda _: None).run(JARS)


def test_an_address_that_is_none_is_refused(target: Path) -> None:
    with pytest.raises(StackError, match="begins with https, http or file"):
        JarDownload("mirror.example/maven", target, lambda _: None).run(JARS)


def test_who_gives_up_gets_no_more_files(repository: Path, target: Path) -> None:
    download = JarDownload(repository.as_uri(), target, lambda _: None)
    download.give_up()
    with pytest.raises(StackError, match="stopped while fetching"):
        download.run(JARS)
    assert names(target) == set()
