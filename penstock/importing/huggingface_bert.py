"""Weights of BERT that transformers or sentence-transformers saved, for our architecture `bert`: a vector a text."""

import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from schemas.errors import ConfigurationError
from workers.inference.backends.architectures.weight_names import misfit_of, patterns_of

MAX_BYTES: Final = 100 * 1024 * 1024  # of a header; safetensors' own bound
MOST_LAYERS: Final = 1000
OUTPUT: Final = "sentence_embedding"
# Settings of config.json that the architecture has by the same names.
SIZES: Final = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
)
NEEDED: Final = SIZES[:5]
# Others for which it has one value only.
FIXED: Final = {"hidden_act": "gelu", "position_embedding_type": "absolute", "is_decoder": False}


def read_json(path: Path, *, missing: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    """An object of a JSON file; `missing` is for where there is none. Raises `ConfigurationError`."""
    if missing is not None and not path.is_file():
        return missing
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path}: is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path}: must be an object")
    return content


def bert_fields(directory: Path, config: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    """Platform, output and `parameters.torch` of model.yaml. Raises `ConfigurationError` where the network is another
    than ours, or its weights are called otherwise."""
    where = directory / "config.json"
    wrong = [
        f"{key}: is {config[key]!r}, not {value!r}" for key, value in FIXED.items() if config.get(key, value) != value
    ]
    wrong += [
        f"{key}: must be a number"
        for key in SIZES
        if not _is_whole(config.get(key)) and (key in config or key in NEEDED)
    ]
    if not isinstance(config.get("layer_norm_eps", 0.0), int | float):
        wrong.append("layer_norm_eps: must be a number")
    wrong += (
        [] if wrong or 0 < config["num_hidden_layers"] <= MOST_LAYERS else [f"num_hidden_layers: 1 to {MOST_LAYERS}"]
    )
    if wrong:
        raise ConfigurationError(f"{where}: the architecture bert cannot run it: {'; '.join(wrong)}")
    names = _weight_names(directory / "model.safetensors")
    used = set(_names_of(config["num_hidden_layers"]))
    if lost := sorted(used - set(names)):
        raise ConfigurationError(
            f"{directory / 'model.safetensors'}: {misfit_of(lost, [], names)}. Where transformers is installed, "
            "`AutoModel.from_pretrained(FOLDER).save_pretrained(OTHER)` writes them without a head"
        )
    network = {key: config[key] for key in SIZES if key in config}
    if "layer_norm_eps" in config:
        network["layer_norm_eps"] = float(config["layer_norm_eps"])
    torch: dict[str, Any] = {"architecture": "bert", "config": {**network, **_pooling(directory, notes)}}
    if unused := patterns_of([name for name in names if name not in used], used):
        torch["unused_weights"] = unused
    return {
        "platform": "pytorch_safetensors",
        "output": [{"name": OUTPUT, "data_type": "TYPE_FP32", "dims": [config["hidden_size"]]}],
        "parameters": {"torch": torch},
    }


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _pooling(directory: Path, notes: list[str]) -> dict[str, Any]:
    """How the vectors of a text's tokens become one, as sentence-transformers has written it down."""
    path = directory / "modules.json"
    if not path.is_file():
        notes.append("pooling: nothing says how vectors of tokens become one: their mean, brought to length 1")
        return {"pooling": "mean", "normalize": True}
    try:
        modules = {str(each["type"]).rpartition(".")[2]: str(each["path"]) for each in json.loads(path.read_bytes())}
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise ConfigurationError(f"{path}: cannot be read: {error}") from error
    others = modules.keys() - {"Transformer", "Pooling", "Normalize"}
    pooling = read_json(directory / modules.get("Pooling", "") / "config.json", missing={})
    modes = {key.removeprefix("pooling_mode_") for key, value in pooling.items() if value is True}
    modes &= {"mean_tokens", "cls_token", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"}
    if others or modes not in ({"mean_tokens"}, {"cls_token"}):
        found = ", ".join([*sorted(others), *sorted(modes)])
        raise ConfigurationError(
            f"{path}: the architecture bert pools by mean_tokens or cls_token alone, not by {found}"
        )
    return {"pooling": "mean" if modes == {"mean_tokens"} else "cls", "normalize": "Normalize" in modules}


def _weight_names(path: Path) -> list[str]:
    """By the header of a safetensors file: its length in 8 bytes, and JSON."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = dict(json.loads(file.read(min(length, MAX_BYTES))))
        return [str(name) for name in header if name != "__metadata__"]
    except (OSError, ValueError, TypeError, RecursionError, struct.error) as error:
        raise ConfigurationError(f"{path}: is not a safetensors file: {error}") from error


def _names_of(layers: int) -> Iterator[str]:
    """All weights of the architecture `bert`, which are called as in published checkpoints."""
    for table in ("word", "position", "token_type"):
        yield f"embeddings.{table}_embeddings.weight"
    blocks = ["embeddings.LayerNorm"]
    for layer in range(layers):
        within = f"encoder.layer.{layer}"
        blocks += [f"{within}.attention.self.{name}" for name in ("query", "key", "value")]
        blocks += [f"{within}.attention.output.{name}" for name in ("dense", "LayerNorm")]
        blocks += [f"{within}.{name}" for name in ("intermediate.dense", "output.dense", "output.LayerNorm")]
    for block in blocks:
        yield f"{block}.weight"
        yield f"{block}.bias"
