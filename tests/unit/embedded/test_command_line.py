"""The `penstock` command: what it refuses, and that it loads only what it runs."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from penstock.cli import COMMANDS, main
from penstock.lazy import missing_extra
from runtime.extras import install_command


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner()


def test_every_command_is_listed(runner: CliRunner) -> None:
    shown = runner.invoke(main, ["--help"])
    assert shown.exit_code == 0
    assert [command for command in COMMANDS if f"  {command} " not in shown.output] == []


def test_an_unknown_command_is_a_usage_error(runner: CliRunner) -> None:
    assert runner.invoke(main, ["down"]).exit_code == 2


def test_a_file_in_place_of_a_model_repository_is_a_usage_error(runner: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    ran = runner.invoke(main, ["up", "--ephemeral", "--port", "0", "--models", str(tmp_path / "model.onnx")])
    assert ran.exit_code == 2
    assert "'--models': Directory" in ran.stderr
    assert "is a file" in ran.stderr


def test_nothing_is_kept_and_kept_somewhere_is_a_usage_error(runner: CliRunner, tmp_path: Path) -> None:
    ran = runner.invoke(main, ["up", "--ephemeral", "--data-dir", str(tmp_path)])
    assert ran.exit_code == 2
    assert "--ephemeral keeps nothing" in ran.stderr


def test_up_tells_the_mistakes_of_every_role_at_once_and_exits_with_2(runner: CliRunner) -> None:
    mistaken = {"PENSTOCK_LOG_LEVEL": "loud", "PENSTOCK_GATEWAY_PORT": "none", "PENSTOCK_SINK_BATCH_RECORDS": "0"}
    ran = runner.invoke(main, ["up", "--ephemeral"], env=mistaken)
    assert ran.exit_code == 2
    assert sorted(line.partition(":")[0] for line in ran.stderr.splitlines()) == sorted(mistaken)


def test_a_package_that_is_missing_names_the_extra_that_brings_it() -> None:
    told = missing_extra("gateway", COMMANDS["gateway"], ModuleNotFoundError("no", name="fastapi"))
    assert str(told) == f"`penstock gateway` needs the package fastapi: {install_command('gateway')}"


def test_a_package_of_ours_that_is_missing_is_our_mistake() -> None:
    error = ModuleNotFoundError("no", name="gateway.main")
    assert missing_extra("gateway", COMMANDS["gateway"], error) is error


def test_a_role_loads_nothing_of_the_embedded_stack() -> None:
    program = (
        "import sys, penstock.roles; print([name for name in sys.modules if name.startswith('penstock.embedded')])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
