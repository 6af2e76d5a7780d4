"""What `up` writes."""

from io import StringIO

from penstock.console import Console


def test_each_line_says_who_said_it() -> None:
    stream = StringIO()
    console = Console(stream)
    console.line("gateway", "listening")
    console.line("worker-2", "serving")
    console.say("ready")
    assert stream.getvalue() == "gateway  | listening\nworker-2 | serving\npenstock | ready\n"


class FullDisk(StringIO):
    def write(self, _: str) -> int:
        raise OSError(28, "No space left on device")


def test_lines_that_nobody_can_be_shown_are_dropped() -> None:
    Console(FullDisk()).line("worker", "serving")
    closed = StringIO()
    closed.close()
    Console(closed).say("stopping")
