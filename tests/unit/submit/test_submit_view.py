"""What a server says is shown as it is: it is no markup, and nothing that a terminal would act on."""

import io

import msgspec
import pytest
from rich.console import Console

from penstock.submit.outcome import LineStatus, Outcome
from penstock.submit.view import View


def shown(*errors: bytes, reason: str | None = None) -> str:
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=120)
    with View(console, 100, bar=True) as view:
        if reason is not None:
            view.hold_up(reason)
        for error in errors:
            view.outcome(Outcome(1, None, "job_1", LineStatus.FAILED, error=msgspec.Raw(error)), 1)
        if reason is not None:
            view.hold_up(reason)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_reason_to_wait_is_no_markup_and_cannot_speak_to_the_terminal() -> None:
    text = shown(reason="the lane [/bulk] is full\x1b]0;title\x07")
    assert "the lane [/bulk] is full?]0;title?" in text


def test_an_error_cannot_speak_to_the_terminal() -> None:
    told = msgspec.json.encode({"code": "x", "message": "a\x1b]0;title\x07\x9b", "type": "t"})
    assert "line 1: x: a?]0;title??" in shown(told)


@pytest.mark.parametrize("error", [b"5", b"{}", b'"text"'])
def test_an_error_that_is_none_of_ours_does_not_end_the_run(error: bytes) -> None:
    assert "the server does not say why" in shown(error)
