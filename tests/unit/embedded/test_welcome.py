"""What a person reads when the stack is ready."""

from pathlib import Path

import pytest

from penstock.welcome import suggestion, without_password


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://penstock:secret@127.0.0.1:5432/penstock", "postgresql://penstock@127.0.0.1:5432/penstock"),
        ("redis://:s%40cret@127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis://cache.example:6379/0", "redis://cache.example:6379/0"),
    ],
)
def test_no_password_is_shown(address: str, shown: str) -> None:
    assert without_password(address) == shown


def test_a_digit_is_suggested_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = tmp_path / "examples" / "models"
    (models / "digits").mkdir(parents=True)
    image = tmp_path / "examples" / "digits" / "images" / "7.png"
    image.parent.mkdir(parents=True)
    image.touch()
    monkeypatch.chdir(tmp_path)
    assert suggestion("http://127.0.0.1:8080", models) == (
        "curl -s http://127.0.0.1:8080/v1/models/digits/jobs -H 'Prefer: wait=10' -H 'Content-Type: image/png' "
        "--data-binary @examples/digits/images/7.png"
    )


def test_the_models_are_suggested_elsewhere(tmp_path: Path) -> None:
    assert suggestion("http://127.0.0.1:8080", tmp_path) == "curl -s http://127.0.0.1:8080/v1/models"
