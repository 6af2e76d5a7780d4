"""One role as a child process."""

import os
from pathlib import Path

import pytest

from penstock.role import ROOT, import_path, reason


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["Traceback (most recent call last):", '  File "x.py", line 1', "ValueError: no", ""], "ValueError: no"),
        (["Error: `penstock gateway` needs the package fastapi"], "`penstock gateway` needs the package fastapi"),
        (
            [
                "10:00:00 [error    ] cannot start     reason=no models role=worker",
                "10:00:01 [info     ] stopped          role=worker",
            ],
            "cannot start reason=no models role=worker",
        ),
        (["PENSTOCK_GATEWAY_PORT: must be a number"], "PENSTOCK_GATEWAY_PORT: must be a number"),
        ([], ""),
    ],
)
def test_the_reason_is_the_last_error_that_was_logged(lines: list[str], told: str) -> None:
    assert reason(lines) == told


def test_a_checkout_is_found_from_anywhere(tmp_path: Path) -> None:
    assert import_path({"PYTHONPATH": str(tmp_path)}) == os.pathsep.join([str(ROOT), str(tmp_path)])


def test_an_installed_penstock_needs_no_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("site.getsitepackages", lambda: [str(ROOT)])
    assert import_path({}) == ""
