"""A model's folder of Triton becomes one of ours, which is then served by the same code as any other."""

from pathlib import Path
from shutil import copyfile, rmtree
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result

from penstock.cli import main
from tests.integration.models.digits import REPOSITORY, held_out, load
from tests.integration.models.needs import need
from workers.inference.models.repository import ModelRepository

need("onnx")

from onnx import helper, numpy_helper  # noqa: E402 - after the check above

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


def test_of_a_model_that_takes_no_batches_each_row_runs_alone_or_the_first_dimension_is_said_to_be_rows(
    tmp_path: Path,
) -> None:
    config = """backend: "onnxruntime"
    input { name: "image" data_type: TYPE_FP32 dims: [-1, 8, 8] }
    output { name: "label" data_type: TYPE_INT64 dims: [-1] }"""
    model = triton_model(tmp_path, config)
    result = imported(model, tmp_path / "models", "--name", "one")
    assert "the model takes no batches, so each row of a job runs alone" in result.stderr
    assert written(tmp_path / "models", "one")["output"] == [
        {"name": "label", "data_type": "TYPE_INT64", "dims": [-1], "batch_dimension": False}
    ]
    rows = held_out().inputs["image"]
    assert load("one/7", repository=tmp_path / "models").run({"image": rows[np.newaxis]})["label"].shape == (1, 360)

    assert imported(model, tmp_path / "models", "--max-batch-size", "16", "--name", "digits").exit_code == 0
    assert load("digits/7", repository=tmp_path / "models").run({"image": rows})["label"].shape == (360,)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ('platform: "ensemble" ensemble_scheduling { step [ ] }', "ensemble_scheduling: an ensemble has no file"),
        (CONFIG + "sequence_batching { }", "sequence_batching: the model keeps state between requests"),
        (CONFIG + "model_transaction_policy { decoupled: true }", "decoupled: a job here has one answer"),
        (CONFIG.replace("onnxruntime_onnx", "tensorrt_plan"), "platform 'tensorrt_plan': only onnxruntime_onnx"),
        ('backend: "python" max_batch_size: 8', "platform 'python': only onnxruntime_onnx is taken"),
        (CONFIG.replace("size: 64\ninput", "size: '64'\ninput"), "max_batch_size: must be an integer, not '64'"),
        (CONFIG.replace("[ 8, 8 ]", "[ 8, eight ]"), "dims: must be an integer, not 'eight'"),
        (CONFIG.replace('name: "image"', "name: image"), "name: must be a string in quotes, not 'image'"),
        (CONFIG.replace("TYPE_INT64", "99"), "data_type: must be one of its words, not '99'"),
        (CONFIG.replace("TYPE_INT64 dims", "TYPE_INT64 is_shape_tensor: t dims"), "is_shape_tensor"),
        (CONFIG + "input: 5", "input: must be a message in braces, not '5'"),
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


def graph(root: Path, given: list[Any], made: list[Any], name: str = "net") -> Path:
    """A model's folder of Triton, without a configuration, whose graph sums over all but the first dimension."""
    nodes = [helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=0)]
    axes = numpy_helper.from_array(np.arange(1, len(given)), "axes")
    tensors = [helper.make_tensor_value_info(name, 1, shape) for name, shape in (("x", given), ("y", made))]
    model = helper.make_model(
        helper.make_graph(nodes, "g", tensors[:1], tensors[1:], [axes]), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 9
    (root / name / "1").mkdir(parents=True)
    (root / name / "1" / "model.onnx").write_bytes(model.SerializeToString())
    return root / name


def written(repository: Path, name: str) -> dict[str, Any]:
    fields: dict[str, Any] = yaml.safe_load((repository / name / "model.yaml").read_text())
    return fields


TENSORS = {
    "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [3]}],
    "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": []}],
}


@pytest.mark.parametrize(
    ("config", "first", "sizes"),
    [
        (None, None, {"max_batch_size": 64}),
        (None, "N", {"max_batch_size": 64}),
        (None, 4, {"max_batch_size": 4, "dynamic_batching": {"allowed_batch_sizes": [4]}}),
        ('platform: "onnxruntime_onnx"', "batch_size", {"max_batch_size": 64}),
        ('backend: "onnxruntime" max_batch_size: 16', "rows", {"max_batch_size": 16}),
        (
            'max_batch_size: 0 input { name: "x" data_type: 11 dims: [-1, 3] }',
            "batch",
            {"max_batch_size": 64},
        ),
        (
            (
                'input { name: "x" data_type: TYPE_FP32 dims: 1 dims: 3 } '
                "dynamic_batching { max_queue_delay_microseconds: 9 }"
            ),
            1,
            {
                "max_batch_size": 1,
                "dynamic_batching": {"max_queue_delay_microseconds": 9, "allowed_batch_sizes": [1]},
            },
        ),
    ],
)
def test_what_the_configuration_does_not_say_is_filled_in_from_the_graph(
    tmp_path: Path, config: str | None, first: str | int | None, sizes: dict[str, Any]
) -> None:
    model = graph(tmp_path, [first, 3], [first])
    if config is not None:
        (model / "config.pbtxt").write_text(config)
    result = imported(model, tmp_path / "models")
    assert result.exit_code == 0, result.output
    assert "filled in from the graph" in result.stderr
    assert written(tmp_path / "models", "net") == {
        "name": "net",
        "platform": "onnxruntime_onnx",
        **TENSORS,
        **sizes,
    }


@pytest.mark.parametrize(
    ("config", "first"),
    [
        ("", "tokens"),  # a length, as it may be, and no rows
        ('input { name: "x" data_type: TYPE_FP32 dims: [-1, 3] }', None),  # Triton takes it for no rows
    ],
)
def test_a_dimension_that_may_be_no_rows_is_not_taken_for_them(tmp_path: Path, config: str, first: str | None) -> None:
    model = graph(tmp_path, [first, 3], [first])
    (model / "config.pbtxt").write_text(config)
    assert imported(model, tmp_path / "models").exit_code == 0
    assert written(tmp_path / "models", "net")["input"] == [
        {"name": "x", "data_type": "TYPE_FP32", "dims": [-1, 3], "batch_dimension": False}
    ]
    assert imported(model, tmp_path / "models", "--max-batch-size", "8", "--name", "rows").exit_code == 0
    assert written(tmp_path / "models", "rows")["input"] == TENSORS["input"]


def test_labels_that_fit_no_output_are_left_behind_and_told(tmp_path: Path) -> None:
    model = triton_model(tmp_path, CONFIG.replace("dims: [ 10 ]", "dims: [ 10 ] reshape { shape: [ 10, 1, 1 ] }"))
    result = imported(model, tmp_path / "models")
    assert "probabilities.label_filename: left behind: labels.txt has 10 labels, and the output 1" in result.stderr
    assert "label_filename" not in written(tmp_path / "models", "digits-net")["output"][1]


def test_two_classes_of_one_name_are_told_apart(tmp_path: Path) -> None:
    model = triton_model(tmp_path)
    (model / "labels.txt").write_bytes(b"\xef\xbb\xbfcrane\r\n1\r\n2\r\n3\r\n4\r\ncrane\r\n6\r\n7\r\n8\r\n9\r\n\r\n")
    result = imported(model, tmp_path / "models")
    assert "classes of one name have their number behind it: crane (0), crane (5)" in result.stderr
    (version,) = ModelRepository(tmp_path / "models").scan(["digits-net"])
    assert version.signature.outputs[1].labels[:6] == ("crane (0)", "1", "2", "3", "4", "crane (5)")


@pytest.mark.parametrize("options", [(), ("--link",)])
@pytest.mark.parametrize("linked", ["7/secret.bin", "7/model.onnx", "7"])
def test_links_that_lead_out_of_the_folder_are_not_followed(
    tmp_path: Path, linked: str, options: tuple[str, ...]
) -> None:
    model = triton_model(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "model.onnx").write_bytes((model / "7" / "model.onnx").read_bytes())
    target = tmp_path / "elsewhere" if linked == "7" else tmp_path / "elsewhere" / "model.onnx"
    rmtree(model / linked) if linked == "7" else (model / linked).unlink(missing_ok=True)
    (model / linked).symlink_to(target)
    assert f"leads out of {model}" in refused(model, tmp_path / "models", *options)


@pytest.mark.parametrize("name", ["../elsewhere", "Digits", ""])
def test_a_name_that_no_model_may_have_is_refused(tmp_path: Path, name: str) -> None:
    model = triton_model(tmp_path, CONFIG.replace("digits_net", "di/gits"))
    assert "cannot be a model's name here" in refused(model, tmp_path / "models", "--name", name)
