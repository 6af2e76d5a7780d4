"""Writes the models that `penstock init` copies: python -m tools.init_models. Needs what `make test` installs.

iris        Fisher's irises by scikit-learn's logistic regression, as an ONNX graph
iris-torch  the same flowers by a network of two layers, as safetensors
reviews     words that speak for or against what a text is about, as a tokenizer and an ONNX graph
sentiment   the weights of such words, for a handler
"""

import json
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from penstock.exporting.sklearn import to_graph

MODELS: Final = Path(__file__).parents[1] / "penstock" / "init" / "models"
# What old and new ONNX Runtimes read.
OPSET, IR_VERSION = 17, 9
WEIGHTS: Final = {
    **dict.fromkeys(["bad", "broken", "cold", "disappointing", "late", "rude", "slow", "terrible", "worst"], -1.0),
    **dict.fromkeys(["best", "excellent", "friendly", "good", "great", "lovely", "perfect", "quick", "recommend"], 1.0),
}


def main() -> None:
    flowers = load_iris()
    x, y = flowers.data.astype(np.float32), flowers.target
    estimator = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y)
    (MODELS / "iris" / "1" / "model.onnx").write_bytes(to_graph(estimator, x).onnx)
    save_file(network_of(x, y).state_dict(), MODELS / "iris-torch" / "1" / "model.safetensors")
    (MODELS / "reviews" / "tokenizer.json").write_text(tokenizer().to_str(pretty=True) + "\n")
    onnx.save(reviews(), MODELS / "reviews" / "1" / "model.onnx")
    (MODELS / "sentiment" / "1" / "weights.json").write_text(json.dumps(WEIGHTS, indent=2) + "\n")


def network_of(x: np.ndarray, y: np.ndarray) -> torch.nn.Module:
    """Weights by the names that the architecture `sequential` gives to its layers."""
    torch.manual_seed(0)
    layers = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
    network = torch.nn.ModuleDict({"layers": layers})
    optimizer = torch.optim.Adam(layers.parameters(), lr=0.02)
    rows, classes = torch.from_numpy(x), torch.from_numpy(y)
    for _ in range(300):
        optimizer.zero_grad()
        torch.autograd.backward(torch.nn.functional.cross_entropy(layers(rows), classes))
        optimizer.step()
    return network


def tokenizer() -> Tokenizer:
    vocabulary = {"[PAD]": 0, "[UNK]": 1, **{word: place for place, word in enumerate(WEIGHTS, 2)}}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106 - the word for unknown words
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made


def reviews() -> onnx.ModelProto:
    """input_ids, attention_mask [rows, tokens] -> label [rows], probabilities [rows, 2]: words weighed and added up."""
    table = np.array([[0.0, 0.0], [0.0, 0.0], *([-weight, weight] for weight in WEIGHTS.values())], np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["each"]),
        helper.make_node("Cast", ["attention_mask"], ["counts"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["counts", "last"], ["weights"]),
        helper.make_node("Mul", ["each", "weights"], ["counted"]),
        helper.make_node("ReduceSum", ["counted", "tokens"], ["scores"], keepdims=0),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "reviews",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["rows", "tokens"])
            for name in ("input_ids", "attention_mask")
        ],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, ["rows"]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["rows", 2]),
        ],
        [
            numpy_helper.from_array(table, "table"),
            numpy_helper.from_array(np.array([2], np.int64), "last"),
            numpy_helper.from_array(np.array([1], np.int64), "tokens"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return model


if __name__ == "__main__":
    main()
