"""The wheel alone, where there is no checkout: from an empty folder to an answer."""

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from signal import SIGINT

import pytest

from penstock.embedded.locations import CACHE_DIR_VARIABLE, cache_dir
from tests.integration.embedded.up_process import running_up
from tests.services import SOURCES, service_source
from tests.wheel import Installation, build

pytestmark = [
    pytest.mark.skipif(
        service_source() is not SOURCES["embedded"], reason="where services are elsewhere, `up` starts none"
    ),
    pytest.mark.timeout(300),
]
# Nothing that is installed here has been compiled yet.
READY_WITHIN_S = 180.0

ROLES = ("gateway", "router", "worker", "sink")


@pytest.fixture
def installed(tmp_path: Path) -> Installation:
    installation = Installation(tmp_path)
    installation.add(f"{build(tmp_path / 'dist')}[stack]")
    return installation


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Where the account that Postgres runs as may pass, also when we are root."""
    with tempfile.TemporaryDirectory(prefix="penstock-test-") as top:
        Path(top).chmod(0o711)
        yield Path(top, "data")


async def test_an_empty_folder_becomes_a_service_that_answers(
    installed: Installation, tmp_path: Path, data_dir: Path
) -> None:
    assert re.fullmatch(r"penstock, version \d+\.\d+\.\d+\n", installed.said("penstock", "--version"))
    commands = installed.said("penstock", "--help")
    for role in ROLES:
        assert re.search(rf"^  {role} +\w", commands, re.MULTILINE)
        assert f"Usage: penstock {role}" in installed.said("penstock", role, "--help")

    asking = re.search(r"penstock (run .+)", installed.said("penstock", "init"))
    assert asking is not None
    assert "iris/1" in installed.said("penstock", "models", "check", "models")

    penstock = str(installed.program("penstock"))
    where = {"PYTHONPATH": "", CACHE_DIR_VARIABLE: str(cache_dir(os.getuid(), os.environ))}
    options = ("--port", "0", "--data-dir", str(data_dir))
    with running_up(tmp_path, *options, program=[penstock], cwd=installed.empty_folder, variables=where) as up:
        await up.ready(READY_WITHIN_S)
        answer = installed.said("penstock", *asking[1].split(), "--data-dir", str(data_dir))
        assert "setosa" in answer
        up.send(SIGINT)
        assert await up.ends() == 0
