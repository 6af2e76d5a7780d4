"""What is told of a log."""

from pathlib import Path

from penstock.embedded.last_words import last_words


def test_the_last_line_that_tells_is_told(tmp_path: Path) -> None:
    log = tmp_path / "postgres.log"
    log.write_text("LOG: starting\nFATAL: no disk\nFATAL: really no disk\nLOG: shut down\n")
    assert last_words(log, ["FATAL"]) == f"FATAL: really no disk (log: {log})"


def test_without_such_a_line_the_last_one_is(tmp_path: Path) -> None:
    log = tmp_path / "postgres.log"
    log.write_text("LOG: starting\nLOG: shut down\n\n")
    assert last_words(log, ["FATAL"]) == f"LOG: shut down (log: {log})"


def test_only_the_end_of_a_long_log_is_read(tmp_path: Path) -> None:
    log = tmp_path / "kafka.log"
    log.write_text("FATAL: long ago\n" + "INFO: nothing\n" * 10_000)
    assert last_words(log, ["FATAL"]) == f"INFO: nothing (log: {log})"


def test_silence_is_told_too(tmp_path: Path) -> None:
    log = tmp_path / "kafka.log"
    assert last_words(log, ["FATAL"]) == ""
    log.touch()
    assert last_words(log, ["FATAL"]) == f"its log {log} is empty"
