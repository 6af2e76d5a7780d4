"""`penstock models check`: what a worker would make of each version, in processes that may die."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from structlog.testing import capture_logs

from penstock.cli import main
from penstock.models import check
from tests.unit.models.repositories import fields, write_model

EXAMPLES = Path(__file__).parents[3] / "examples"
HANDLER = """
import os
import signal

class Handler:
    def load(self, context):
        {load}

    def predict(self, inputs):
        return {{"y": {answer}}}
"""
MODEL = """
name: {name}
platform: python_handler
trust: code
max_batch_size: 4
input: [{{name: x, data_type: TYPE_FP32, dims: []}}]
output: [{{name: y, data_type: TYPE_FP32, dims: []}}]
{more}
"""


@pytest.fixture(autouse=True)
def _logs_as_they_are(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The logs of this process are the tests' own."""
    monkeypatch.setattr(check, "configure_logs", lambda *_: None)
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "1")
    before = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    with capture_logs():
        yield
    assert {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"} == before


def models(*arguments: object, **environ: str) -> Result:
    return CliRunner(env=environ).invoke(main, ["models", *map(str, arguments)])


def write_handler(
    root: Path, name: str, *, load: str = "pass", answer: str = 'inputs["x"] * 2', more: str = ""
) -> None:
    write_model(root, MODEL.format(name=name, more=more), name=name, filename="handler.py")
    (root / name / "1" / "handler.py").write_text(HANDLER.format(load=load, answer=answer))
    assert models("pin", root / name).exit_code == 0


def test_each_version_has_its_line_and_none_keeps_another_from_being_checked(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / "models" / "digits", tmp_path / "digits", ignore=shutil.ignore_patterns("2"))
    text = (tmp_path / "digits" / "model.yaml").read_text()
    (tmp_path / "digits" / "model.yaml").write_text(text.replace('"2"', '"1"', 1).partition('\n  "2":')[0])
    write_handler(tmp_path, "good", more="reference_rows: {inputs: {x: [1, 2]}, outputs: {y: [2, 4]}}")
    write_handler(tmp_path, "wrong", more="reference_rows: {inputs: {x: [1, 2]}, outputs: {y: [2, 5]}}")
    write_handler(tmp_path, "crashes", load="os.kill(os.getpid(), signal.SIGSEGV)")
    write_handler(tmp_path, "leaves", answer="os._exit(7)")
    write_handler(tmp_path, "raises", load='raise ValueError("no weights")')
    write_handler(tmp_path, "picky", answer='{}["unknown"]')
    write_model(tmp_path, fields(name="broken", max_batch_size="many"), name="broken")

    result = models("check", tmp_path, "--trust", "code")

    assert result.exit_code == 1, result.output
    lines = result.stdout.replace(f"{tmp_path}/", "").splitlines()
    assert lines[0].startswith("broken/1: not served: broken/model.yaml: max_batch_size: ")
    assert lines[1] == f"crashes/1: not served: crashes/1: loading it: the process ended ({signal.SIGSEGV.name})"
    assert lines[2].startswith("digits/1: served by onnxruntime_onnx: image FP32 [-1, 8, 8] -> label INT64 [-1], ")
    assert lines[3] == "good/1: served by python_handler: x FP32 [-1] -> y FP32 [-1]"
    assert lines[4] == "leaves/1: not served: leaves/1: loading it: the process ended (exit status 7)"
    assert lines[5].startswith("picky/1: served by python_handler")
    assert lines[6].startswith("  but does not take the rows that were made up to warm it up (reference_rows in ")
    assert lines[7] == "raises/1: not served: raises/1/handler.py: cannot be loaded: ValueError: no weights"
    assert lines[8].startswith("wrong/1: not served: wrong/1: answers its reference rows wrongly: output 'y' is 4.0 at")
    assert len(lines) == 9
    assert result.stderr == "3 of 8 can be served\n"


def test_a_version_that_hangs_while_it_is_loaded_is_told_like_any_other_that_cannot_be_served(tmp_path: Path) -> None:
    write_handler(tmp_path, "hangs", load="signal.pause()")
    result = models("check", tmp_path, "--trust", "code", "--timeout", "0.5", "--json")
    assert result.exit_code == 1
    (verdict,) = map(json.loads, result.stdout.splitlines())
    assert (verdict["state"], verdict["reason"]) == (
        "refused",
        "hangs/1: loading it: loading takes longer than 0.5 s: --timeout allows more",
    )


def test_a_run_that_takes_longer_than_its_model_allows_is_not_told_to_be_given_more_time(tmp_path: Path) -> None:
    limits = "run_limit_seconds: 0.2\nreference_rows: {inputs: {x: [1, 2]}, outputs: {y: [2, 4]}}"
    write_handler(tmp_path, "slow", answer='signal.sigtimedwait([], 0.5) or inputs["x"] * 2', more=limits)
    result = models("check", tmp_path, "--trust", "code")
    assert result.exit_code == 1
    assert result.stdout.endswith("the run took longer than 0.2 s, which is the model's limit\n")


def test_a_model_or_a_version_alone_is_checked_and_trust_is_the_worker_s(tmp_path: Path) -> None:
    write_handler(tmp_path, "one")
    write_handler(tmp_path, "two")
    result = models("check", tmp_path / "one")
    assert result.exit_code == 1
    assert result.stdout.startswith("one/1: not served: ")
    assert "runs the model's own code, and this worker may not" in result.stdout
    assert models("check", tmp_path / "one" / "1", PENSTOCK_WORKER_TRUST="code").exit_code == 0
    assert len(models("check", PENSTOCK_MODEL_REPOSITORY=str(tmp_path)).stdout.splitlines()) == 2


def test_verdicts_are_objects_where_that_is_asked_for(tmp_path: Path) -> None:
    write_handler(tmp_path, "one")
    (tmp_path / "one" / "2").mkdir()
    result = models("check", tmp_path, "--trust", "code", "--json")
    one, two = map(json.loads, result.stdout.splitlines())
    assert one["load_s"] > 0
    assert {key: one[key] for key in ("model", "version", "state", "reason", "platform", "default", "inputs")} == {
        "model": "one",
        "version": "1",
        "state": "served",
        "reason": None,
        "platform": "python_handler",
        "default": False,
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1]}],
    }
    assert (two["version"], two["state"], two["inputs"]) == ("2", "refused", None)
    assert two["reason"].endswith("one/2: cannot be run: python_handler needs the file handler.py")


def test_what_is_no_model_is_told(tmp_path: Path) -> None:
    assert models("check", tmp_path).stderr == (
        f"Error: {tmp_path}: holds no model: {tmp_path}/<model>/model.yaml would be one\n"
    )
    (tmp_path / "fraud" / "1").mkdir(parents=True)
    result = models("check", tmp_path)
    assert (result.exit_code, result.stderr.splitlines()[0]) == (
        1,
        f"{tmp_path}/fraud: has no model.yaml, so it is passed over",
    )
    assert models("check", tmp_path / "nowhere").exit_code == 2
    assert models("check", tmp_path, "--device", "tpu").stderr.startswith("Error: device 'tpu' is none of auto, cpu")


def test_what_a_model_prints_is_shown_where_that_is_asked_for(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_handler(tmp_path, "chatty", load='print("hello")')
    models("check", tmp_path, "--trust", "code")
    assert "model loaded" not in capfd.readouterr().err
    models("check", tmp_path, "--trust", "code", "--verbose")
    assert "model loaded" in capfd.readouterr().err


def test_what_a_model_says_cannot_speak_to_the_terminal(tmp_path: Path) -> None:
    said = r"\x1b]0;title\x07"
    write_handler(tmp_path, "loud", load=f"raise ValueError('{said}')")
    result = models("check", tmp_path, "--trust", "code")
    assert "title" in result.stdout
    assert "\x1b" not in result.stdout
