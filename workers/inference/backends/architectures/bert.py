"""`bert`: a bidirectional transformer encoder that turns token ids into one vector a row.

ModelLoader carry the names that published BERT checkpoints use, so that such a safetensors file loads as it is.
Source: Devlin et al. 2019, "BERT"; mean pooling over the tokens that count, Reimers and Gurevych 2019, "Sentence-BERT".
"""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional


class BertConfig(BaseModel):
    """`parameters.torch.config` of model.yaml; names as in the `config.json` beside published checkpoints."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    vocab_size: PositiveInt
    hidden_size: PositiveInt
    num_hidden_layers: PositiveInt
    num_attention_heads: PositiveInt
    intermediate_size: PositiveInt
    max_position_embeddings: PositiveInt = 512
    type_vocab_size: PositiveInt = 2
    layer_norm_eps: PositiveFloat = 1e-12
    pooling: Literal["mean", "cls"] = "mean"
    normalize: bool = True


class Embeddings(nn.Module):
    """Token ids [rows, tokens] to vectors [rows, tokens, hidden]: word, position and segment added up."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, input_ids: Tensor) -> Tensor:
        positions = self.position_embeddings.weight[: input_ids.shape[1]]
        # Rows hold one text each, so every token is of segment 0.
        x: Tensor = self.word_embeddings(input_ids) + positions + self.token_type_embeddings.weight[0]
        normalized: Tensor = self.LayerNorm(x)
        return normalized


class SelfAttention(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """`mask` [rows, 1, tokens, tokens] is true where the first token may attend to the second."""
        query, key, value = (self._split(layer(x)) for layer in (self.query, self.key, self.value))
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return mixed.transpose(1, 2).flatten(2)

    def _split(self, x: Tensor) -> Tensor:
        """[rows, tokens, hidden] to [rows, heads, tokens, hidden / heads]."""
        rows, tokens, hidden = x.shape
        return x.view(rows, tokens, self.heads, hidden // self.heads).transpose(1, 2)


class AddAndNormalize(nn.Module):
    """A projection, the residual connection around the block that led here, and layer normalization."""

    def __init__(self, size_in: int, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(size_in, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        normalized: Tensor = self.LayerNorm(self.dense(x) + residual)
        return normalized


class Layer(nn.Module):
    """Attention, then a feed-forward network. The nested containers spell the checkpoints' weight names."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.attention = nn.ModuleDict(
            {"self": SelfAttention(config), "output": AddAndNormalize(config.hidden_size, config)}
        )
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(config.hidden_size, config.intermediate_size)})
        self.output = AddAndNormalize(config.intermediate_size, config)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        attended = self.attention["output"](self.attention["self"](x, mask), x)
        mixed: Tensor = self.output(functional.gelu(self.intermediate["dense"](attended)), attended)
        return mixed


class Bert(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.table_sizes = {"input_ids": config.vocab_size}
        self.embeddings = Embeddings(config)
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))})

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Token ids and mask (1: token, 0: padding), both int64 [rows, tokens], to float [rows, hidden]."""
        x = self.embeddings(input_ids)
        # Without a copy. Written out in full because ONNX Runtime's attention broadcasts no masks.
        mask = attention_mask.bool()[:, None, None, :].expand(-1, 1, input_ids.shape[1], -1)
        for layer in self.encoder["layer"]:  # type: ignore[attr-defined]
            x = layer(x, mask)
        vector = x[:, 0] if self.config.pooling == "cls" else _mean(x, attention_mask)
        return functional.normalize(vector, dim=1) if self.config.normalize else vector


def _mean(x: Tensor, attention_mask: Tensor) -> Tensor:
    """The mean over the tokens that are not padding."""
    weights = attention_mask.unsqueeze(2).to(x.dtype)
    return (x * weights).sum(1) / weights.sum(1).clamp(min=torch.finfo(x.dtype).eps)


def build(config: Mapping[str, Any]) -> Bert:
    """The network, its weights not loaded yet. Raises `ValueError` for a configuration that fits no network."""
    parsed = BertConfig.model_validate(config)
    if parsed.hidden_size % parsed.num_attention_heads:
        raise ValueError(
            f"hidden_size {parsed.hidden_size} is not a multiple of num_attention_heads {parsed.num_attention_heads}"
        )
    return Bert(parsed)
