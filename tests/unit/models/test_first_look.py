"""What a worker makes of its repository at its start."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from schemas.errors import ConfigurationError
from tests.unit.models.repositories import installed, write_model
from workers.inference.lifecycle.first_look import look_first, why_incomplete
from workers.inference.models.repository import ModelRepository


def told(root: Path, *patterns: str) -> list[tuple[str, str]]:
    """What it logs: event and reason."""
    with capture_logs() as logs:
        look_first(ModelRepository(root, installed("onnxruntime")), patterns)
    return [(entry["event"], entry["reason"]) for entry in logs]


def refused(root: Path, *patterns: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        told(root, *patterns)
    return caught.value.message


def test_with_sound_models_there_is_nothing_to_say(tmp_path: Path) -> None:
    write_model(tmp_path)
    assert told(tmp_path, "*", "digits/1") == []


def test_models_are_waited_for_where_there_are_none(tmp_path: Path) -> None:
    assert told(tmp_path, "*") == [("waiting for models", f"there is no model in {tmp_path} yet")]


def test_a_folder_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    assert told(tmp_path / "gone", "*") == [("waiting for models", f"there is no folder {tmp_path / 'gone'} yet")]


def test_a_repository_of_nothing_but_mistakes_is_told_and_waited_for(tmp_path: Path) -> None:
    mistake = f"{write_model(tmp_path, 'platform: none')}/model.yaml: name: is missing"
    assert told(tmp_path, "*") == [("model left out", mistake), ("waiting for models", mistake)]


def test_a_bad_model_that_is_named_stops_no_other(tmp_path: Path) -> None:
    write_model(tmp_path)
    mistake = f"{write_model(tmp_path, 'platform: none', name='odd')}/model.yaml: name: is missing"
    assert told(tmp_path, "digits", "odd") == [("model left out", mistake)]


def test_where_all_is_named_and_nothing_can_be_served_it_ends(tmp_path: Path) -> None:
    mistake = f"{write_model(tmp_path, 'platform: none')}/model.yaml: name: is missing"
    assert refused(tmp_path, "digits", "digits/1") == mistake
    assert refused(tmp_path / "gone", "digits") == f"there is no folder {tmp_path / 'gone'} yet"


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("digitz", ": is digits meant?"),
        ("digits/11", ": is digits/1 meant?"),
        ("digits/v9", ": is digits/1 meant?"),
        ("cancer", ""),
    ],
)
def test_a_name_that_may_be_misspelt_is_refused_with_what_is_like_it(tmp_path: Path, pattern: str, hint: str) -> None:
    write_model(tmp_path)
    assert refused(tmp_path, "*", pattern) == f"no model in {tmp_path} matches {pattern!r}{hint}"


@pytest.mark.parametrize(
    ("patterns", "served", "failed", "missed"),
    [
        (["*"], 1, {"odd/1": "no graph"}, None),
        (["*"], 0, {"odd/1": "no graph", "old": "no yaml"}, "odd/1: no graph; old: no yaml"),
        (["*"], 0, {}, None),
        (["digits", "odd"], 1, {"odd/1": "no graph"}, "odd/1: no graph"),
        (["digits", "odd/1"], 1, {"odd": "no yaml"}, "odd: no yaml"),
        (["digits/2", "*"], 1, {"digits/1": "no graph"}, None),
    ],
)
def test_what_is_named_in_full_is_missed_and_what_wildcards_met_only_all_together(
    patterns: list[str], served: int, failed: dict[str, str], missed: str | None
) -> None:
    assert why_incomplete(patterns, served, failed) == missed
