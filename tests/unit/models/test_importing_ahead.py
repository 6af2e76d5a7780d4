"""What models run on is imported while the worker waits for other things."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.models.repositories import installed, write_model
from workers.inference.backends.importing_ahead import import_ahead, modules_of
from workers.inference.lifecycle.first_look import look_first
from workers.inference.models.repository import ModelRepository


def test_the_first_look_says_which_modules_its_versions_need_here(tmp_path: Path) -> None:
    write_model(tmp_path)
    write_model(tmp_path, name="other")
    found = look_first(ModelRepository(tmp_path, installed("onnxruntime")), ["*"])
    assert modules_of(found) == ["onnxruntime"]
    assert modules_of(replace(each, isolation="process") for each in found) == []


def test_what_cannot_be_imported_is_left_to_who_loads_the_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_runtime.py").write_text("raise RuntimeError('no driver')")
    (tmp_path / "sound_runtime.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    import_ahead(["broken_runtime", "no_such_runtime", "sound_runtime"])
    assert "sound_runtime" in sys.modules
    assert "broken_runtime" not in sys.modules
    monkeypatch.delitem(sys.modules, "sound_runtime")
