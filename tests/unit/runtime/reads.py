"""What is done to inputs in `test_reading`. The process that reads imports this module, so it is a small one."""

import os
import signal
from typing import Any

from schemas.errors import InvalidInput
from schemas.images import Hold

# Of the process that runs the tests.
HOME = int(os.environ.setdefault("READING_TEST_HOME", str(os.getpid())))


def where(*image_bytes_and_hold: Any) -> str:
    """Where an input with images of so many bytes is read."""
    *image_bytes, hold = image_bytes_and_hold
    for each in image_bytes:
        hold(each)
    return "here" if os.getpid() == HOME else "apart"


def who(_hold: Hold) -> tuple[int, int, int]:
    """The process that reads, how nice it is, and its session."""
    return os.getpid(), os.getpriority(os.PRIO_PROCESS, 0), os.getsid(0)


def refuse(_hold: Hold) -> None:
    raise InvalidInput("no", param="input")


def die(_hold: Hold) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hang(_hold: Hold) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def chatter(_hold: Hold) -> str:
    print("a library says something")  # noqa: T201 - that is the point
    return "answer"
