"""`penstock init`: each example is read, loaded and right about its reference rows, and takes the request beside it."""

import builtins
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from penstock.cli import main
from penstock.init.examples import EXAMPLES, FILES
from penstock.models.checking import check_models
from runtime.extras import install_command
from schemas.jobs import Payload
from tests.unit.schemas.reading import checked
from workers.inference.models.repository import ModelRepository

MODULES = {"torch": "torch", "sklearn": "sklearn", "text": "tokenizers"}


def init(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["init", *map(str, arguments)])


@pytest.mark.parametrize("kind", EXAMPLES)
def test_an_example_is_served_and_takes_its_request(tmp_path: Path, kind: str) -> None:
    if kind in MODULES:
        pytest.importorskip(MODULES[kind])
    repository = tmp_path / "models"
    result = init(repository, "--from", kind)
    assert result.exit_code == 0, result.output

    model = EXAMPLES[kind].model
    (verdict,) = check_models(ModelRepository(repository, trust="code"), ["*"], "cpu")
    assert (verdict.name, verdict.refused, list(verdict.doubts)) == (f"{model}/1", None, [])
    assert verdict.served is not None
    assert verdict.served.reference_rows is not None
    body = (repository / model / "example.json").read_bytes()
    assert checked(verdict.served.signature, Payload(body)).rows == 1


@pytest.mark.parametrize("kind", EXAMPLES)
def test_what_is_printed_and_the_readme_name_files_that_are_there(tmp_path: Path, kind: str) -> None:
    if kind == "sklearn":
        pytest.importorskip("sklearn")
    result = init(tmp_path, "--from", kind)
    folder = tmp_path / EXAMPLES[kind].model
    readme = (folder / "README.md").read_text()
    for path in re.findall(rf"{tmp_path}[\w./-]*", f"{readme}\n{result.stdout}"):
        assert Path(path).exists(), path
    trust = " --trust code" if EXAMPLES[kind].trusted else ""
    assert f"    penstock up --models {tmp_path}{trust}\n" in readme
    assert result.stdout.splitlines()[-2:] == [
        f"Serve it:  penstock up --models {tmp_path}{trust}",
        f"Ask it:    penstock run {folder.name} {folder}/example.json",
    ]


def test_nothing_is_overwritten_and_others_come_beside_it(tmp_path: Path) -> None:
    init(tmp_path)
    (tmp_path / "iris" / "model.yaml").write_text("mine")
    again = init(tmp_path)
    assert (again.exit_code, again.stderr) == (1, f"Error: {tmp_path}/iris: is there already\n")
    assert (tmp_path / "iris" / "model.yaml").read_text() == "mine"
    assert init(tmp_path, "--from", "text").exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["iris", "reviews"]


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "models").touch()
    result = init(tmp_path / "models")
    assert result.exit_code != 0
    assert "Traceback" not in result.output


def test_where_scikit_learn_is_missing_its_example_is_refused_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    importing = builtins.__import__

    def without_joblib(name: str, *arguments: Any) -> Any:
        if name == "joblib":
            raise ModuleNotFoundError(name=name)
        return importing(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without_joblib)
    result = init(tmp_path / "models", "--from", "sklearn")
    assert result.stderr.endswith(f"joblib is not installed: {install_command('sklearn')}\n")
    assert not list((tmp_path / "models").iterdir())


def test_the_examples_folder_holds_what_the_examples_are() -> None:
    assert {path.name for path in FILES.iterdir()} == {example.model for example in EXAMPLES.values()}


def test_commands_with_a_folder_of_several_words_can_be_pasted(tmp_path: Path) -> None:
    repository = tmp_path / "my models"
    printed = init(repository).stdout
    text = printed + (repository / "iris" / "README.md").read_text()
    commands = [line for line in text.splitlines() if "penstock up" in line or "penstock run" in line or "@" in line]
    assert len(commands) == 5
    words = [word for line in commands for word in shlex.split(line.partition("  ")[2] or line)]
    whole = [word for word in words if "my models" in word]
    assert len(whole) == 5
    assert "penstock models check '" in text
