"""A model of whole words: a text's vector is the sum of those of its words."""

from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

WORDS: Final = ("[UNK]", "water", "gate", "pipe", "wheel", "größe")
SIZE: Final = 4
TABLE: Final = np.random.default_rng(7).normal(size=(len(WORDS), SIZE)).astype(np.float32)
MODEL_YAML: Final = """
name: words
platform: onnxruntime_onnx
max_batch_size: 64
input: [{name: text, data_type: TYPE_STRING, dims: []}]
output: [{name: vector, data_type: TYPE_FP32, dims: [4]}]
parameters:
  tokenizer: {input: text, max_tokens: 32}
"""


def write_tokenizer(path: Path) -> None:
    tokenizer = Tokenizer(WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token=WORDS[0]))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(path))


def words() -> onnx.ModelProto:
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "input_ids"], ["vectors"]),
            helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["mask", "last"], ["masks"]),
            helper.make_node("Mul", ["vectors", "masks"], ["masked"]),
            helper.make_node("ReduceSum", ["masked", "middle"], ["vector"], keepdims=0),
        ],
        "words",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["rows", "tokens"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["rows", SIZE])],
        initializer=[
            numpy_helper.from_array(TABLE, "table"),
            numpy_helper.from_array(np.array([2], dtype=np.int64), "last"),
            numpy_helper.from_array(np.array([1], dtype=np.int64), "middle"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
