"""Whatever stands in the files of a Hugging Face folder, it is read or refused in a line."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from penstock.importing.huggingface import _max_tokens, read_huggingface
from schemas.errors import ConfigurationError
from tests.integration.models.networks import TINY_BERT

BERT: dict[str, Any] = {**TINY_BERT, "model_type": "bert", "architectures": ["BertModel"], "hidden_act": "gelu"}
DEEP = "[" * 100_000


def folder_of(directory: Path, config: Any, **others: str | bytes) -> Path:
    (directory / "tokenizer.json").write_text("{}")
    (directory / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    (directory / "model.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")
    for name, content in others.items():
        path = directory / name.replace("__", ".")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return directory


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (DEEP, "is not JSON"),
        ([], "must be an object"),
        ({**BERT, "model_type": ["bert"]}, "without an ONNX graph"),
        ({**BERT, "model_type": {"a": 1}, "max_position_embeddings": 5}, "without an ONNX graph"),
        ({**BERT, "architectures": {"a": 1}}, "without an ONNX graph"),
        ({**BERT, "hidden_size": True}, "hidden_size: must be a number"),
        ({**BERT, "max_position_embeddings": "many"}, "max_position_embeddings: must be a number"),
        ({**BERT, "type_vocab_size": [1]}, "type_vocab_size: must be a number"),
        ({**BERT, "layer_norm_eps": "small"}, "layer_norm_eps: must be a number"),
        ({**BERT, "layer_norm_eps": []}, "layer_norm_eps: must be a number"),
        ({**BERT, "num_hidden_layers": 10**9}, "num_hidden_layers: 1 to 1000"),
        (BERT, r"embeddings\.LayerNorm\.bias"),
    ],
)
def test_a_config_that_is_none_is_refused(tmp_path: Path, config: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        read_huggingface(folder_of(tmp_path, config), "m", "1", 8)


@pytest.mark.parametrize(
    "modules", [DEEP, "5", "[5]", '[{"type": "a.Pooling"}]', "{}", '[{"type": "Pooling", "path": "a\\u0000b"}]']
)
def test_modules_that_are_none_are_refused(tmp_path: Path, modules: str) -> None:
    header = json.dumps({name: {} for name in _names()}).encode()
    weights = struct.pack("<Q", len(header)) + header
    folder = folder_of(tmp_path, BERT, modules__json=modules, model__safetensors=weights)
    with pytest.raises(ConfigurationError, match=r"modules\.json"):
        read_huggingface(folder, "m", "1", 8)


@pytest.mark.parametrize("weights", [b"", b"\xff" * 8, b"\xff" * 8 + b"{", struct.pack("<Q", 100_000) + DEEP.encode()])
def test_weights_that_are_none_are_refused(tmp_path: Path, weights: bytes) -> None:
    with pytest.raises(ConfigurationError, match="is not a safetensors file"):
        read_huggingface(folder_of(tmp_path, BERT, model__safetensors=weights), "m", "1", 8)


def _names() -> list[str]:
    from penstock.importing.huggingface_bert import _names_of  # noqa: PLC0415 - what the header has to have

    return list(_names_of(BERT["num_hidden_layers"]))


def test_a_type_that_is_no_text_has_no_places_of_its_own(tmp_path: Path) -> None:
    assert _max_tokens(tmp_path, {"model_type": ["roberta"], "max_position_embeddings": 66}) == 66
