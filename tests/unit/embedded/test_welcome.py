"""What a person reads when the stack is ready."""

from pathlib import Path

import pytest

from penstock.addresses import without_password
from penstock.served import Served, listing, suggestion
from penstock.welcome import metrics

URL = "http://127.0.0.1:8080"


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


async def test_a_digit_is_suggested_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = tmp_path / "examples" / "models"
    models.mkdir(parents=True)
    image = tmp_path / "examples" / "digits" / "images" / "7.png"
    image.parent.mkdir(parents=True)
    image.touch()
    monkeypatch.chdir(tmp_path)
    assert await suggestion(URL, models, ["cancer/1", "digits/2"]) == (
        "curl -s http://127.0.0.1:8080/v1/models/digits/jobs -H 'Prefer: wait=10' -H 'Content-Type: image/png' "
        "--data-binary @examples/digits/images/7.png"
    )


async def test_the_models_are_suggested_where_none_can_be_asked(tmp_path: Path) -> None:
    assert await suggestion(URL, tmp_path, []) == f"curl -s {URL}/v1/models"
    # In zsh brackets are a pattern of files, and a pattern that fits none is an error.
    assert await suggestion("http://[::1]:8080", tmp_path, []) == "curl -s 'http://[::1]:8080'/v1/models"


def test_each_version_has_a_line_with_why_it_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    models = Served(["digits/1", "digits/10"], {"odd": "models/odd/model.yaml: name: is missing"})
    assert listing(models, tmp_path / "models") == [
        "models in models",
        "  digits/1   served",
        "  digits/10  served",
        "  odd        left out: models/odd/model.yaml: name: is missing",
    ]


def test_it_says_where_models_are_waited_for() -> None:
    assert listing(Served([], {}), Path("/no/models")) == [
        "no models yet: what is put into /no/models is served within seconds; `penstock init /no/models` makes one"
    ]


def test_every_role_has_a_line_that_says_where_its_metrics_are() -> None:
    assert metrics({"gateway": URL, "worker": "http://127.0.0.1:23456"}) == [
        f"  metrics        {URL}/metrics  gateway",
        "                 http://127.0.0.1:23456/metrics  worker",
    ]
