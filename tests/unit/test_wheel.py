"""The wheel holds exactly our packages: no tests, no benchmarks, and the files that code reads at run time."""

import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"schemas", "runtime", "stores", "producers", "gateway", "workers", "penstock"}


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> set[PurePosixPath]:
    """The files of a wheel built from this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
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
