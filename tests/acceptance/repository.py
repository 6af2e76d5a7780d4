"""The model repository that these tests serve: the example digits, and small models that each show one thing.

digits      as in examples/models; ONNX only, so that no worker loads torch
volume      length, width, height -> volume: named features
echo        text -> the same text
grown       the same in three versions, of which the second fails all jobs but those of place 0
tickets     ticket, turns -> the same ticket, after `turns` rounds of work: jobs as slow as a test wants them
parked      `echo` again, in a repository of its own: a worker that served it has gone
"""

import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.acceptance import words

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
# A second of work for `tickets` on a common core: four times what shows a job as running, so that it is seen so.
MANY_TURNS = 300_000
# What old and new ONNX Runtimes read.
OPSET, IR_VERSION = 17, 9

VOLUME = """
name: volume
platform: onnxruntime_onnx
max_batch_size: 32
input: [{name: edges, data_type: TYPE_FP32, dims: [3]}]
output: [{name: volume, data_type: TYPE_FP32, dims: []}]
features: [length, width, height]
"""
ECHO = """
name: {name}
platform: onnxruntime_onnx
max_batch_size: 32
input: [{{name: text, data_type: TYPE_STRING, dims: []}}]
output: [{{name: echo, data_type: TYPE_STRING, dims: []}}]
"""
# The delay lets jobs that come together run together.
SQUARES = """
name: squares
platform: onnxruntime_onnx
max_batch_size: 32
input: [{name: place, data_type: TYPE_INT64, dims: []}]
output: [{name: square, data_type: TYPE_INT64, dims: []}]
dynamic_batching: {max_queue_delay_microseconds: 200000}
"""
# Here and below the delay paces clients that wait for their jobs: eight of them send some hundred jobs a second, not
# some thousand.
GROWN = """
name: grown
platform: onnxruntime_onnx
max_batch_size: 32
input: [{name: place, data_type: TYPE_INT64, dims: []}]
output: [{name: square, data_type: TYPE_INT64, dims: []}]
dynamic_batching: {max_queue_delay_microseconds: 50000}
"""
TICKETS = """
name: tickets
platform: onnxruntime_onnx
max_batch_size: 8
input: [{name: ticket, data_type: TYPE_INT64, dims: []}, {name: turns, data_type: TYPE_INT64, dims: []}]
output: [{name: stamped, data_type: TYPE_INT64, dims: []}]
dynamic_batching: {max_queue_delay_microseconds: 20000}
"""


def write_repository(path: Path) -> Path:
    """Everything but `parked`."""
    digits = path / "digits"
    shutil.copytree(EXAMPLES / "models" / "digits", digits, ignore=shutil.ignore_patterns("*.safetensors"))
    write_model(path / "volume", VOLUME, volume())
    write_model(path / "echo", ECHO.format(name="echo"), echo())
    write_model(path / "squares", SQUARES, squares())
    write_model(path / "grown", GROWN, squares())
    write_version(path / "grown" / "2", squares(known=1))
    write_version(path / "grown" / "3", squares())
    write_model(path / "tickets", TICKETS, tickets())
    write_model(path / "words", words.MODEL_YAML, words.words())
    words.write_tokenizer(path / "words" / "tokenizer.json")
    return path


def write_parked_repository(path: Path) -> Path:
    write_model(path / "parked", ECHO.format(name="parked"), echo())
    return path


def write_model(directory: Path, model_yaml: str, model: onnx.ModelProto) -> None:
    write_version(directory / "1", model)
    (directory / "model.yaml").write_text(model_yaml)


def write_version(directory: Path, model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model, full_check=True)
    directory.mkdir(parents=True)
    (directory / "model.onnx").write_bytes(model.SerializeToString())


def volume() -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("ReduceProd", ["edges"], ["volume"], axes=[1], keepdims=0)],
        "volume",
        [helper.make_tensor_value_info("edges", TensorProto.FLOAT, ["rows", 3])],
        [helper.make_tensor_value_info("volume", TensorProto.FLOAT, ["rows"])],
    )
    return whole(graph)


def echo() -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["text"], ["echo"])],
        "echo",
        [helper.make_tensor_value_info("text", TensorProto.STRING, ["rows"])],
        [helper.make_tensor_value_info("echo", TensorProto.STRING, ["rows"])],
    )
    return whole(graph)


def squares(known: int = 10) -> onnx.ModelProto:
    """Of places below `known`; with any other it fails."""
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "place"], ["square"])],
        "squares",
        [helper.make_tensor_value_info("place", TensorProto.INT64, ["rows"])],
        [helper.make_tensor_value_info("square", TensorProto.INT64, ["rows"])],
        initializer=[numpy_helper.from_array(np.arange(known) ** 2, "table")],
    )
    return whole(graph)


def tickets() -> onnx.ModelProto:
    """A loop over matrix products, as long as the most patient row asks; what it computes is then multiplied by 0."""
    size = 48
    start = np.eye(size, dtype=np.float32)
    step = np.roll(start, 1, axis=0)
    turn = helper.make_graph(
        [
            helper.make_node("MatMul", ["before", "step"], ["after"]),
            helper.make_node("Identity", ["go_on"], ["still_on"]),
        ],
        "turn",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, [size, size]),
        ],
        [
            helper.make_tensor_value_info("still_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, [size, size]),
        ],
    )
    rows = helper.make_tensor_value_info("stamped", TensorProto.INT64, ["rows"])
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMax", ["turns"], ["most"], keepdims=0),
            helper.make_node("Loop", ["most", "", "start"], ["worked"], body=turn),
            helper.make_node("ReduceSum", ["worked"], ["sum"], keepdims=0),
            helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
            helper.make_node("Cast", ["nothing"], ["no_ticket"], to=TensorProto.INT64),
            helper.make_node("Add", ["ticket", "no_ticket"], ["stamped"]),
        ],
        "tickets",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["rows"]) for name in ("ticket", "turns")],
        [rows],
        initializer=[
            numpy_helper.from_array(start, "start"),
            numpy_helper.from_array(step, "step"),
            numpy_helper.from_array(np.zeros((), np.float32), "zero"),
        ],
    )
    return whole(graph)


def whole(graph: onnx.GraphProto) -> onnx.ModelProto:
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
