"""`penstock batch run` and `resume`, straight over the running stack's Kafka."""

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
from pyarrow import parquet

from penstock.stack import Stack
from producers.rows.bulk_run import resume_rows, run_rows
from runtime.settings import KafkaSettings, load
from schemas.errors import Conflict, ModelNotFound
from tests.acceptance import digits
from tests.waiting import eventually_sync

ROWS = 20_000


@pytest.fixture
def told(stack: Stack, environ: dict[str, str]) -> dict[str, str]:
    """Where the running stack's Kafka is."""
    return {**environ, "PENSTOCK_KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap_servers}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "penstock", "batch", *arguments]


def ran(arguments: Sequence[str], folder: Path, told: dict[str, str], code: int = 0) -> str:
    done = subprocess.run(
        command(*arguments), cwd=folder, env=told, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def predictions(path: Path) -> list[object]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["row"] for line in lines] == list(range(len(lines)))
    return [line.get("prediction", line.get("error")) for line in lines]


def images(rows: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    return np.random.default_rng(7).uniform(0, 16, (rows, 8, 8)).astype(np.float32)


def test_each_row_of_a_file_is_answered_in_order(tmp_path: Path, told: dict[str, str]) -> None:
    np.save(tmp_path / "rows.npy", images(3000))
    ran(["run", "rows.npy", "--model", "digits", "--output", "out.jsonl"], tmp_path, told)
    assert len(predictions(tmp_path / "out.jsonl")) == 3000
    said = ran(["run", "rows.npy", "--model", "digits", "--output", "out.jsonl"], tmp_path, told, code=1)
    assert "out.jsonl is there" in said


def test_a_row_that_does_not_fit_has_an_error_and_the_exit_code_says_so(tmp_path: Path, told: dict[str, str]) -> None:
    rows = [images(1)[0].tolist(), [[1.0]], images(1)[0].tolist()]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    ran(["run", "rows.jsonl", "--model", "digits", "--output", "out.jsonl"], tmp_path, told, code=1)
    found = [json.loads(line)["status"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert found == ["succeeded", "failed", "succeeded"]


def test_answers_become_parquet_or_an_array(tmp_path: Path, told: dict[str, str]) -> None:
    rows = images(500)
    np.save(tmp_path / "rows.npy", rows)
    ran(["run", "rows.npy", "--model", "digits", "--version", "2", "--output", "out.parquet"], tmp_path, told)
    table = parquet.read_table(tmp_path / "out.parquet").to_pydict()
    assert table["row"] == list(range(500))
    assert set(table["status"]) == {"succeeded"}
    assert table["label"] == [str(label) for label in digits.labels(rows)]
    np.save(tmp_path / "edges.npy", np.array([[1, 2, 3], [np.nan, 1, 1], [4, 5, 6]], np.float32))
    ran(["run", "edges.npy", "--model", "volume", "--output", "out.npy"], tmp_path, told, code=1)
    assert np.array_equal(np.load(tmp_path / "out.npy"), [6, np.nan, 120], equal_nan=True)
    (error,) = map(json.loads, (tmp_path / "out.npy.errors.jsonl").read_text().splitlines())
    assert (error["row"], error["error"]["param"]) == (1, "edges")
    said = ran(["run", "rows.npy", "--model", "digits", "--output", "no.npy"], tmp_path, told, code=1)
    assert "write .parquet or .jsonl" in said
    assert "out.npy is there" in ran(
        ["run", "edges.npy", "--model", "volume", "--output", "out.npy"], tmp_path, told, 1
    )
    left = ["edges.npy", "out.npy", "out.npy.errors.jsonl", "out.parquet", "rows.npy"]
    assert sorted(path.name for path in tmp_path.iterdir()) == left


def test_the_images_of_a_folder_are_answered_by_their_names(tmp_path: Path, told: dict[str, str]) -> None:
    folder = tmp_path / "images"
    copytree(digits.IMAGES, folder)
    (folder / "notes.txt").write_text("no image")
    ran(["run", "images", "--model", "digits", "--output", "out.jsonl"], tmp_path, told, code=1)
    lines = {line["id"]: line for line in map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())}
    assert lines.pop("notes.txt")["status"] == "failed"
    assert {name: line["prediction"]["label"] for name, line in lines.items()} == {
        path.name: path.stem for path in digits.IMAGES.glob("*.png")
    }


def test_a_run_into_parquet_that_is_killed_loses_no_row(tmp_path: Path, told: dict[str, str]) -> None:
    np.save(tmp_path / "rows.npy", images(ROWS))
    arguments = ["run", "rows.npy", "--model", "digits", "--version", "2", "--output", "out.parquet"]
    lines = tmp_path / "out.parquet.jsonl"
    with subprocess.Popen(command(*arguments), cwd=tmp_path, env=told, stderr=subprocess.DEVNULL) as run:

        def goes_on() -> bool:
            return run.poll() is not None or (lines.exists() and lines.stat().st_size > 0)

        eventually_sync(goes_on, 60, "it writes")
        run.kill()
    ran(["resume", "out.parquet"], tmp_path, told)
    table = parquet.read_table(tmp_path / "out.parquet")
    assert table.column("row").to_pylist() == list(range(ROWS))
    assert not lines.exists()


async def test_rows_of_a_program_are_run_and_cannot_be_resumed(
    tmp_path: Path, told: dict[str, str], stack: Stack
) -> None:
    settings = load(KafkaSettings, told)
    output = tmp_path / "out.jsonl"
    rows = ([float(number), 1.0, 1.0] if number % 10 else "no row" for number in range(2000))
    progress = await run_rows(rows, output, model="volume", settings=settings)
    assert (progress.rows, progress.failed) == (2000, 200)
    found = predictions(output)
    assert [value for value in found if isinstance(value, int | float)] == [n for n in range(2000) if n % 10]
    with pytest.raises(Conflict, match="cannot be read again"):
        await resume_rows(output, settings=settings)
    with pytest.raises(ModelNotFound):
        await run_rows([1], tmp_path / "other.jsonl", model="nothing", settings=settings)


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_ended_by_any_means_goes_on_where_it_was(
    tmp_path: Path, told: dict[str, str], by: signal.Signals
) -> None:
    # Given a file of many rows
    np.save(tmp_path / "rows.npy", images(ROWS))
    output = tmp_path / "out.jsonl"

    # When one is ended twice in the middle, and resumed
    arguments = ["run", "rows.npy", "--model", "digits", "--version", "2", "--output", "out.jsonl"]
    for _ in range(2):
        begun = output.stat().st_size if output.exists() else 0
        with subprocess.Popen(command(*arguments), cwd=tmp_path, env=told, stderr=subprocess.PIPE, text=True) as run:

            def goes_on(known: int = begun) -> bool:
                return run.poll() is not None or (output.exists() and output.stat().st_size > known)

            eventually_sync(goes_on, 60, "it writes")
            run.send_signal(by)
            _, said = run.communicate(timeout=60)
        if run.returncode in (130, 143):
            assert "penstock batch resume out.jsonl" in said
        arguments = ["resume", "out.jsonl"]
    ran(arguments, tmp_path, told)

    # Then each row has its line, once
    assert len(predictions(output)) == ROWS


def test_another_file_under_the_same_name_is_refused(tmp_path: Path, told: dict[str, str]) -> None:
    np.save(tmp_path / "rows.npy", images(100))
    ran(["run", "rows.npy", "--model", "digits", "--output", "out.jsonl"], tmp_path, told)
    np.save(tmp_path / "rows.npy", images(101))
    assert "has changed since the run began" in ran(["resume", "out.jsonl"], tmp_path, told, code=1)


@pytest.mark.parametrize(
    ("model", "why"),
    [(["--model", "nothing"], "there is no model"), (["--model", "digits", "--version", "9"], "version")],
)
def test_a_model_that_is_not_there_is_told_in_a_line(
    tmp_path: Path, told: dict[str, str], model: list[str], why: str
) -> None:
    np.save(tmp_path / "rows.npy", images(1))
    assert why in ran(["run", "rows.npy", *model, "--output", "out.jsonl"], tmp_path, told, code=1)
    assert list(tmp_path.glob("out*")) == []
