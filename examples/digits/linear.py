"""Version 1: logistic regression, as an ONNX graph."""

import onnx
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler

from examples.digits.data import Rows

OPSET = 17


def train(rows: Rows) -> onnx.ModelProto:
    """A graph from `image` [rows, 8, 8] to `label` [rows] and `probabilities` [rows, 10]."""
    flat = rows.inputs.reshape(-1, 64)
    pipeline = make_pipeline(MaxAbsScaler(), LogisticRegression(max_iter=2000)).fit(flat, rows.labels)
    graph = to_onnx(
        pipeline, flat[:1], options={id(pipeline): {"zipmap": False}}, target_opset={"": OPSET, "ai.onnx.ml": 3}
    )
    return _taking_images(graph)


def _taking_images(model: onnx.ModelProto) -> onnx.ModelProto:
    """Scikit-learn knows flat rows only: put a Flatten in front, so that both versions take the same tensor."""
    graph = model.graph
    (flat,) = graph.input
    graph.node.insert(0, onnx.helper.make_node("Flatten", ["image"], [flat.name], name="flatten", axis=1))
    del graph.input[:], graph.output[:]
    graph.input.append(_tensor("image", onnx.TensorProto.FLOAT, 8, 8))
    graph.output.extend(
        [_tensor("label", onnx.TensorProto.INT64), _tensor("probabilities", onnx.TensorProto.FLOAT, 10)]
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _tensor(name: str, element_type: int, *row_shape: int) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(name, element_type, ["rows", *row_shape])
