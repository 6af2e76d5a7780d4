"""The wheel holds exactly our packages: no tests, no benchmarks, and the files that code reads at run time.

What it lacks when it is installed by itself it says, with a command that brings it.
"""

import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from tests.wheel import ROOT, Installation, build, uv

PACKAGES = {"schemas", "runtime", "stores", "producers", "gateway", "workers", "penstock"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def contents(wheel: Path) -> set[PurePosixPath]:
    with zipfile.ZipFile(wheel) as archive:
        return {PurePosixPath(name) for name in archive.namelist()}


def test_it_holds_our_packages_and_nothing_else(contents: set[PurePosixPath]) -> None:
    assert {path.parts[0] for path in contents if not path.parts[0].endswith(".dist-info")} == PACKAGES


def test_it_holds_every_module_and_no_leftovers(contents: set[PurePosixPath]) -> None:
    modules = {PurePosixPath(path.relative_to(ROOT)) for name in PACKAGES for path in (ROOT / name).rglob("*.py")}

    assert {path for path in contents if path.suffix == ".py"} == modules
    assert not [path for path in contents if path.suffix == ".pyc"]


@pytest.mark.parametrize(
    "needed",
    [
        "stores/postgres/migrations/*.sql",
        "penstock/embedded/kafka-jars.txt",
        "penstock/init/models/iris/1/model.onnx",
        "penstock/init/models/*/model.yaml",
        "penstock/init/models/*/example.json",
        "schemas/py.typed",
    ],
)
def test_it_holds_what_code_reads_at_run_time(contents: set[PurePosixPath], needed: str) -> None:
    assert [path for path in contents if path.match(needed)]


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The wheel without any extra."""
    installation = Installation(tmp_path_factory.mktemp("bare"))
    installation.add(str(wheel))
    return installation


def test_installed_without_any_extra_it_is_the_client_and_brings_no_server(bare: Installation) -> None:
    asked = "import sys, penstock.client; print(*{'aiokafka', 'fastapi', 'torch', 'asyncpg'} & set(sys.modules))"
    assert bare.said("python", "-c", asked).strip() == ""
    listed = "from importlib.metadata import distributions; print(*(each.name for each in distributions()))"
    found = bare.said("python", "-c", listed)
    assert {"aiokafka", "uvicorn", "fastapi", "pydantic", "torch", "asyncpg", "redis"}.isdisjoint(found.split())
    assert {"httpx", "msgspec", "numpy", "orjson"} <= set(found.split())


@pytest.mark.parametrize("command", ["migrate", "import"])
def test_what_an_installation_lacks_is_had_by_the_command_that_it_tells(bare: Installation, command: str) -> None:
    lacking = bare.run("penstock", command, "--help")
    assert lacking.returncode == 1
    told = re.fullmatch(rf"Error: `penstock {command}` needs the package \w+: uv (.+)\n", lacking.stderr)
    assert told is not None, lacking.stderr

    uv(*shlex.split(told[1]))

    whole = bare.run("penstock", command, "--help")
    assert (whole.returncode, whole.stderr) == (0, "")
    assert f"Usage: penstock {command}" in whole.stdout


def test_installed_as_a_tool_it_is_the_command_penstock_under_a_name_that_no_other_project_has(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_TOOL_DIR", str(tmp_path / "tools"))
    monkeypatch.setenv("UV_TOOL_BIN_DIR", str(tmp_path / "bin"))
    uv("tool", "install", "--python", sys.executable, str(wheel))
    assert [folder.name for folder in (tmp_path / "tools").iterdir() if folder.is_dir()] == ["penstock-inference"]
    told = subprocess.run([tmp_path / "bin" / "penstock", "--help"], check=True, capture_output=True, text=True)
    assert told.stdout.startswith("Usage: penstock ")
