"""How to add an extra: from what we were installed from, into the environment that we run in."""

import json
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import pytest

from runtime.extras import install_command, with_extra


class Environment:
    """`made_from` is what an installer has written down of ours; None where it came from an index."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.python = folder / "an env" / "bin" / "python"
        self.python.parent.mkdir(parents=True)
        self.made_from: object = None
        self.pip = True
        monkeypatch.setattr("runtime.extras.distribution", self._distribution)
        monkeypatch.setattr("sys.executable", str(self.python))

    def _distribution(self, name: str) -> object:
        if name == "pip" and not self.pip:
            raise PackageNotFoundError(name)
        direct = None if self.made_from is None else json.dumps(self.made_from)
        return SimpleNamespace(version="0.1.0", read_text={"direct_url.json": direct}.get)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Environment:
    return Environment(monkeypatch, tmp_path)


def test_of_a_wheel_that_is_still_there_more_is_installed(environment: Environment, tmp_path: Path) -> None:
    wheel = tmp_path / "penstock_inference-0.1.0-py3-none-any.whl"
    wheel.touch()
    environment.made_from = {"url": wheel.as_uri(), "archive_info": {}}
    assert install_command("torch") == f"'{environment.python}' -m pip install '{wheel}[torch]'"


def test_an_environment_without_pip_is_changed_by_uv(environment: Environment, tmp_path: Path) -> None:
    environment.pip = False
    environment.made_from = {"url": tmp_path.as_uri(), "dir_info": {}}
    assert install_command("torch") == f"uv pip install --python '{environment.python}' '{tmp_path}[torch]'"


def test_a_checkout_of_make_gets_more_as_make_does_it(environment: Environment, tmp_path: Path) -> None:
    environment.made_from = {"url": tmp_path.as_uri(), "dir_info": {"editable": True}}
    assert install_command("text") == f"'{environment.python}' -m pip install --editable '{tmp_path}[text]'"

    uv, constraints = environment.python.with_name("uv"), tmp_path / "constraints.txt"
    uv.touch()
    constraints.touch()
    assert install_command("text") == (
        f"'{uv}' pip install --python '{environment.python}' --constraints {constraints} --editable '{tmp_path}[text]'"
    )


@pytest.mark.parametrize(
    "made_from",
    [None, {"url": "file:///gone/penstock.whl", "archive_info": {}}, {"url": "https://a/penstock.whl"}, [], {"url": 1}],
)
def test_what_is_not_there_any_more_is_not_named_and_the_release_stays(
    environment: Environment, made_from: object
) -> None:
    environment.made_from = made_from
    assert install_command("text") == f"'{environment.python}' -m pip install 'penstock-inference[text]==0.1.0'"


def test_in_words_the_extra_is_named_and_no_package_of_an_index() -> None:
    assert with_extra("torch") == "install Penstock with its extra torch"
