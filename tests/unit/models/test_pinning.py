"""`penstock models pin`: digests come into model.yaml, and not one other character changes."""

import hashlib
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from penstock.cli import main
from penstock.models.pinning import pinned_text
from schemas.errors import ConfigurationError
from workers.inference.models.model_file import read_model_file

HANDLER = "class Handler: ...\n"
SHA = hashlib.sha256(HANDLER.encode()).hexdigest()
OTHER = "0" * 64
# Indented, quoted and commented as people do; what stands around the pins has to stay.
MANUAL = """\
# Of the risk team.
name:   fraud   # not "frauds"
platform: python_handler
trust: code # looked through in March
{pins}max_batch_size: 64

input:
    - {{ name: "x", data_type: 'TYPE_FP32', dims: [3] }}
output: [ {{name: y, data_type: TYPE_FP32, dims: []}} ]
# The end.
"""


def write(root: Path, text: str, *versions: str, **files: str) -> Path:
    model = root / "fraud"
    for version in versions or ("1",):
        (model / version).mkdir(parents=True)
        for name, content in {"handler.py": HANDLER, **files}.items():
            (model / version / name).write_text(content)
    (model / "model.yaml").write_bytes(text.encode())
    return model


def manual(pins: str = "") -> str:
    return MANUAL.format(pins=pins)


def pin(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["models", "pin", *map(str, arguments)])


@pytest.mark.parametrize(
    "before",
    [
        "",
        "sha256:\n",
        "sha256: {}\n",
        f"sha256:\n  handler.py: {OTHER}\n",
        f"sha256: {{handler.py: {OTHER}}}\n",
        f"sha256:\n  gone.py: {OTHER}\n",
        f"sha256:\n  gone.py: {OTHER}\n  handler.py: {OTHER}\n  also-gone.json: {OTHER}\n",
        f"sha256:\n  handler.py: {SHA}\n",
    ],
)
def test_pins_are_filled_in_and_all_else_stays(tmp_path: Path, before: str) -> None:
    model = write(tmp_path, manual(before))
    assert pin(model).exit_code == 0
    assert (model / "model.yaml").read_text() == manual(f"sha256:\n  handler.py: {SHA}\n")
    assert read_model_file(model / "model.yaml").version("1").trust == "code"


def test_comments_and_quotes_among_the_pins_stay(tmp_path: Path) -> None:
    text = 'sha256:\n    # what runs\n    "handler.py": "{}" # seen\n    # what it reads\n    words.json: {}\n'
    model = write(tmp_path, manual(text.format(OTHER, OTHER)), **{"words.json": "{}"})
    pin(model)
    words = hashlib.sha256(b"{}").hexdigest()
    assert (model / "model.yaml").read_text() == manual(text.replace('"{}"', "{}").format(SHA, words))


def test_a_handler_s_other_files_are_pinned_and_compiled_and_hidden_ones_are_not(tmp_path: Path) -> None:
    model = write(tmp_path, manual())
    for name in ("deep/net.py", "__pycache__/handler.pyc", ".ipynb_checkpoints/draft.py", "two words.txt"):
        (model / "1" / name).parent.mkdir(exist_ok=True)
        (model / "1" / name).write_text("")
    pin(model)
    assert list(yaml.safe_load((model / "model.yaml").read_text())["sha256"]) == [
        "deep/net.py",
        "handler.py",
        "two words.txt",
    ]


def test_what_lies_beside_model_yaml_is_pinned_where_it_is_so_already(tmp_path: Path) -> None:
    model = write(tmp_path, manual(f"sha256:\n  labels.txt: {OTHER}\n"))
    (model / "labels.txt").write_text("good\n")
    (model / "README.md").write_text("good\n")
    pin(model)
    assert yaml.safe_load((model / "model.yaml").read_text())["sha256"] == {
        "labels.txt": hashlib.sha256(b"good\n").hexdigest(),
        "handler.py": SHA,
    }


def test_versions_with_different_files_get_pins_of_their_own(tmp_path: Path) -> None:
    model = write(tmp_path, manual(f"sha256:\n  handler.py: {OTHER}\n"), "1", "2")
    (model / "2" / "handler.py").write_text("class Handler: pass\n")
    pin(model)
    second = hashlib.sha256(b"class Handler: pass\n").hexdigest()
    added = (
        f'versions:\n  "1":\n    sha256:\n      handler.py: {SHA}\n  "2":\n    sha256:\n      handler.py: {second}\n'
    )
    text = (model / "model.yaml").read_text()
    assert sorted(text) == sorted(manual() + added)
    assert text.startswith(manual()[:100])
    assert added in text
    file = read_model_file(model / "model.yaml")
    assert [file.version(version).sha256 for version in "12"] == [{"handler.py": SHA}, {"handler.py": second}]


@pytest.mark.parametrize(
    "versions",
    [
        'versions:\n  "2":\n    description: the second\n',
        'versions:\n  "2": {description: the second}\n',
        'versions: {"2": {description: the second}}\n',
        f'versions:\n  "1":\n    sha256:\n      handler.py: {OTHER}\n  "2":\n    description: the second\n',
    ],
)
def test_pins_come_into_the_sections_of_versions_that_are_there(tmp_path: Path, versions: str) -> None:
    model = write(tmp_path, manual() + versions, "1", "2")
    (model / "2" / "handler.py").write_text("class Handler: pass\n")
    pin(model)
    file = read_model_file(model / "model.yaml")
    assert file.version("1").sha256["handler.py"] == SHA
    assert file.version("2").sha256["handler.py"] != SHA
    assert file.version("2").description == "the second"
    assert "# The end." in (model / "model.yaml").read_text()


def test_data_is_pinned_where_that_is_asked_for(tmp_path: Path) -> None:
    text = manual().replace("python_handler", "onnxruntime_onnx").replace("trust: code", "trust: data")
    model = write(tmp_path, text, **{"model.onnx": ""})
    assert "as they are pinned" in pin(model).stderr
    pin(model, "--all")
    assert list(yaml.safe_load((model / "model.yaml").read_text())["sha256"]) == ["handler.py", "model.onnx"]


def test_files_that_are_json_or_have_other_line_ends_are_pinned_too(tmp_path: Path) -> None:
    model = write(tmp_path / "a", '{"name": "fraud", "platform": "python_handler", "trust": "code"}')
    pin(model)
    assert yaml.safe_load((model / "model.yaml").read_text())["sha256"] == {"handler.py": SHA}
    model = write(tmp_path / "b", manual().replace("\n", "\r\n"))
    pin(model)
    assert b"max_batch_size: 64\r\n" in (model / "model.yaml").read_bytes()
    assert yaml.safe_load((model / "model.yaml").read_text())["sha256"] == {"handler.py": SHA}


def test_a_check_changes_nothing_and_tells_by_its_exit_code(tmp_path: Path) -> None:
    model = write(tmp_path, manual())
    result = pin(tmp_path, "--check")
    assert (result.exit_code, (model / "model.yaml").read_text()) == (1, manual())
    assert f"+  handler.py: {SHA}" in result.stdout
    pin(tmp_path)
    result = pin(tmp_path, "--check")
    assert (result.exit_code, result.stdout) == (0, "")
    assert sorted(path.name for path in model.iterdir()) == ["1", "model.yaml"]


def test_a_file_outside_of_the_model_is_not_pinned(tmp_path: Path) -> None:
    model = write(tmp_path, manual())
    (tmp_path / "outside.py").write_text("")
    (model / "1" / "outside.py").symlink_to(tmp_path / "outside.py")
    result = pin(model)
    assert result.exit_code == 1
    assert "outside.py: leads out of" in result.stderr


def test_a_file_that_cannot_be_edited_is_left_alone_and_the_pins_are_told(tmp_path: Path) -> None:
    text = manual("sha256:\n  handler.py: >-\n    folded\n")
    model = write(tmp_path, text)
    with pytest.raises(ConfigurationError, match=f"put this in by hand: sha256: .*{SHA}"):
        pinned_text(model)
    assert (model / "model.yaml").read_text() == text


def test_a_model_yaml_that_is_a_link_stays_one_and_keeps_its_mode(tmp_path: Path) -> None:
    model = write(tmp_path / "real", manual())
    (model / "model.yaml").chmod(0o640)
    linked = tmp_path / "linked" / "fraud"
    (linked / "1").mkdir(parents=True)
    (linked / "1" / "handler.py").write_text(HANDLER)
    (linked / "model.yaml").symlink_to(model / "model.yaml")
    assert pin(linked).exit_code == 0
    assert (linked / "model.yaml").is_symlink()
    assert SHA in (model / "model.yaml").read_text()
    assert (model / "model.yaml").stat().st_mode & 0o777 == 0o640


def test_a_model_yaml_in_another_encoding_is_refused(tmp_path: Path) -> None:
    model = write(tmp_path, manual())
    (model / "model.yaml").write_bytes(manual().encode("utf-16"))
    assert pin(model).stderr.endswith("model.yaml: is not UTF-8\n")


def test_folders_without_models_are_told(tmp_path: Path) -> None:
    result = pin(tmp_path)
    assert (result.exit_code, result.stderr) == (1, f"Error: {tmp_path}: holds no model.yaml, and no folder with one\n")
    model = write(tmp_path, manual())
    (model / "1" / "handler.py").unlink()
    (model / "1").rmdir()
    assert "has no version" in pin(model).stderr


@pytest.mark.parametrize("platform", ["python", "[[python_handler]]", "5", "{python_handler: 1}"])
def test_a_platform_that_nobody_knows_is_not_said_to_be_pinned(tmp_path: Path, platform: str) -> None:
    text = manual().replace("platform: python_handler", f"platform: {platform}")
    assert text != manual()
    ran = pin(write(tmp_path, text))
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert "platform: " in ran.stderr
    assert "python_handler" in ran.stderr


def test_a_model_that_cannot_be_pinned_does_not_stop_the_others(tmp_path: Path) -> None:
    write(tmp_path, "x: [").rename(tmp_path / "bad")
    good = write(tmp_path, manual())
    ran = pin(tmp_path)
    assert ran.exit_code == 1
    assert ran.stderr.startswith(f"Error: {tmp_path / 'bad' / 'model.yaml'}")
    assert "sha256" in (good / "model.yaml").read_text()
    assert pin(tmp_path, "--check").exit_code == 1
