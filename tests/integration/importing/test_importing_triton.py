"""A model's folder of Triton becomes one of ours, which is then served by the same code as any other."""

from pathlib import Path
from shutil import copyfile

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result

from penstock.cli import main
from tests.integration.models.digits import REPOSITORY, held_out, load

CONFIG = """
# The larger of the two.
name: "digits_net"
platform: "onnxruntime_onnx"
max_batch_size: 64
input [ { name: "image", data_type: TYPE_FP32, dims: [ 8, 8 ] } ]
output [
  { name: "label" data_type: TYPE_INT64 dims: [ 1 ] reshape { shape: [ ] } },
  { name: "probabilities" data_type: TYPE_FP32 dims: [ 10 ] label_filename: "labels.txt" }
]
dynamic_batching { preferred_batch_size: [ 16, 64 ] max_queue_delay_microseconds: 1500 }
model_warmup [ { name: "full" batch_size: 64 inputs { key: "image" value: { zero_data: true } } } ]
instance_group [ { count: 2 kind: KIND_GPU gpus: [ 0, 1 ] } ]
parameters { key: "intra_op_thread_count" value: { string_value: "2" } }
parameters { key: "execution_mode" value: { string_value: "1" } }
version_policy: { all { } }
"""


def triton_model(root: Path, config: str = CONFIG) -> Path:
    model = root / "digits_net"
    (model / "7").mkdir(parents=True)
    (model / "config.pbtxt").write_text(config)
    copyfile(REPOSITORY / "digits" / "labels.txt", model / "labels.txt")
    copyfile(REPOSITORY / "digits" / "2" / "model.onnx", model / "7" / "model.onnx")
    return model


def imported(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["import", "triton", *map(str, arguments)])


def refused(model: Path, repository: Path, *options: str) -> str:
    result = imported(model, repository, *options)
    assert result.exit_code == 1
    assert not repository.exists() or not list(repository.iterdir())
    assert ".importing" not in result.output
    return result.output


def test_an_imported_model_answers_as_it_did(tmp_path: Path) -> None:
    repository = tmp_path / "models"
    result = imported(triton_model(tmp_path), repository)
    assert result.exit_code == 0, result.output
    rows = held_out()
    outputs = load("digits-net/7", repository=repository).run(rows.inputs)
    np.testing.assert_array_equal(outputs["label"], load("digits/2").run(rows.inputs)["label"])


def test_the_configuration_comes_along_and_what_does_not_is_told(tmp_path: Path) -> None:
    result = imported(triton_model(tmp_path), tmp_path / "models")
    written = (tmp_path / "models" / "digits-net" / "model.yaml").read_text()
    assert yaml.safe_load(written) == {
        "name": "digits-net",
        "platform": "onnxruntime_onnx",
        "max_batch_size": 64,
        "input": [{"name": "image", "data_type": "TYPE_FP32", "dims": [8, 8]}],
        "output": [
            {"name": "label", "data_type": "TYPE_INT64", "dims": []},
            {"name": "probabilities", "data_type": "TYPE_FP32", "dims": [10], "label_filename": "labels.txt"},
        ],
        "dynamic_batching": {"max_queue_delay_microseconds": 1500},
        "model_warmup": [{"batch_size": 64}],
        "parameters": {"onnxruntime": {"intra_op_threads": 2}},
    }
    told = [
        "name: digits_net is digits-net here",
        "label: reshape: clients send and get [] a row, as the graph has it, instead of [1]",
        "dynamic_batching.preferred_batch_size: left behind: the worker finds the size that suits",
        "model_warmup: the sizes came along; its inputs are made up here",
        "parameters.execution_mode: left behind",
        "instance_group: left behind: a worker is one process on one device: start as many as there should be",
        "version_policy: left behind: all versions came along; PENSTOCK_WORKER_MODELS chooses among them",
    ]
    assert result.stderr.splitlines() == [f"  {line}" for line in told]
    assert [line.removeprefix("# ") for line in written.splitlines()[1 : len(told) + 1]] == told


def test_a_model_that_takes_no_batches_needs_a_word_about_them(tmp_path: Path) -> None:
    config = """backend: "onnxruntime"
    input { name: "image" data_type: TYPE_FP32 dims: [-1, 8, 8] }
    output { name: "label" data_type: TYPE_INT64 dims: [-1] }"""
    model = triton_model(tmp_path, config)
    assert "it takes no batches" in refused(model, tmp_path / "models")
    assert imported(model, tmp_path / "models", "--max-batch-size", "16", "--name", "digits").exit_code == 0
    assert load("digits/7", repository=tmp_path / "models").run(held_out().inputs)["label"].shape == (360,)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ('platform: "ensemble" ensemble_scheduling { step [ ] }', "ensemble_scheduling: an ensemble has no file"),
        (CONFIG + "sequence_batching { }", "sequence_batching: the model keeps state between requests"),
        (CONFIG + "model_transaction_policy { decoupled: true }", "decoupled: a job here has one answer"),
        (CONFIG.replace("onnxruntime_onnx", "tensorrt_plan"), "platform 'tensorrt_plan': only onnxruntime_onnx"),
        ('backend: "python" max_batch_size: 8', "platform 'python': only onnxruntime_onnx is taken"),
        ('backend: "onnxruntime" max_batch_size: 8', "input: is missing. Triton fills it in from the graph"),
        (CONFIG.replace("TYPE_FP32, dims", "TYPE_BF16, dims"), "input[0].data_type"),
        (CONFIG.replace('"labels.txt"', '"../labels.txt"'), "the file '../labels.txt' is not there"),
        (CONFIG + 'default_model_filename: "net.onnx"', "has no net.onnx"),
        (CONFIG + "optimization {", "line 17, column 15: a field's name is expected, not 'end'"),
    ],
)
def test_what_cannot_be_served_is_refused_in_words_and_leaves_nothing(tmp_path: Path, config: str, reason: str) -> None:
    assert reason in refused(triton_model(tmp_path, config), tmp_path / "models")


def test_a_graph_in_a_folder_with_its_weights_comes_along_whole(tmp_path: Path) -> None:
    model = triton_model(tmp_path)
    graph = model / "7" / "model.onnx"
    content = graph.read_bytes()
    graph.unlink()
    graph.mkdir()
    (graph / "model.onnx").write_bytes(content)
    (graph / "weights.bin").write_bytes(b"weights")
    assert imported(model, tmp_path / "models").exit_code == 0
    version = tmp_path / "models" / "digits-net" / "7"
    assert {file.name: file.read_bytes() for file in version.iterdir()} == {
        "model.onnx": content,
        "weights.bin": b"weights",
    }


def test_files_can_be_linked_instead_of_copied(tmp_path: Path) -> None:
    model = triton_model(tmp_path)
    assert imported(model, tmp_path / "models", "--link").exit_code == 0
    assert (model / "7" / "model.onnx").samefile(tmp_path / "models" / "digits-net" / "7" / "model.onnx")


def test_a_model_that_is_there_already_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "models" / "digits-net").mkdir(parents=True)
    assert "digits-net: is there already" in imported(triton_model(tmp_path), tmp_path / "models").output
    assert not list((tmp_path / "models" / "digits-net").iterdir())


@pytest.mark.parametrize("name", ["../elsewhere", "Digits", ""])
def test_a_name_that_no_model_may_have_is_refused(tmp_path: Path, name: str) -> None:
    model = triton_model(tmp_path, CONFIG.replace("digits_net", "di/gits"))
    assert "cannot be a model's name here" in refused(model, tmp_path / "models", "--name", name)
