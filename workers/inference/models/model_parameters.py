"""`parameters` of model.yaml: the settings of what runs a model, a section each."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

TokenTensor = Literal["input_ids", "attention_mask", "token_type_ids"]
CompileMode = Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"]
SklearnMethod = Literal["predict", "predict_proba", "predict_log_proba", "decision_function", "transform"]


class Section(BaseModel):
    # Strict: YAML already has types, and "8" for 8 is a mistake to point out rather than to mend.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class OnnxruntimeParameters(Section):
    intra_op_threads: PositiveInt | None = None  # default: see backends/threads.py
    allow_spinning: bool = False  # spinning threads answer sooner, and take a core while nothing runs
    io_binding: bool = True  # on CUDA: inputs lie on the device before the run, outputs stay there until all are made


class TorchParameters(Section):
    architecture: str | None = Field(default=None, min_length=1)  # of safetensors: the network they belong to
    config: dict[str, Any] = {}  # the architecture's own
    unused_weights: tuple[str, ...] = ()  # patterns of weights in the file that the architecture has no place for
    threads: PositiveInt | None = None  # default: see backends/threads.py
    compile: bool | CompileMode = False
    autocast: Literal["bfloat16", "float16"] | None = None
    pinned_memory: bool = True  # on CUDA: to and from the device through page-locked memory, on a stream of its own


class TokenizerParameters(Section):
    filename: str = "tokenizer.json"
    input: str = Field(min_length=1)  # the text input that becomes tokens
    max_tokens: PositiveInt  # longer texts are cut
    vocab_size: PositiveInt | None = None  # how many token ids the network has; default: parameters.torch.config's
    produces: tuple[TokenTensor, ...] = Field(default=("input_ids", "attention_mask"), min_length=1)


class SklearnParameters(Section):
    # By output. Default: `predict` for one value a row, `predict_proba` for a column a class.
    methods: dict[str, SklearnMethod] = {}


class HandlerParameters(Section):
    config: dict[str, Any] = {}  # the handler's own


class EndpointParameters(Section):
    batched: bool = False  # one call a micro-batch with a list of inputs, instead of one call a row
    answer: Literal["json", "fields"] = "json"  # the whole answer as JSON text; or outputs by name from its fields


class Parameters(Section):
    """Settings of the backends, a section each. Those of backends that are not used are checked all the same."""

    onnxruntime: OnnxruntimeParameters = OnnxruntimeParameters()
    torch: TorchParameters | None = None
    tokenizer: TokenizerParameters | None = None
    sklearn: SklearnParameters = SklearnParameters()
    handler: HandlerParameters = HandlerParameters()
    endpoint: EndpointParameters = EndpointParameters()

    @property
    def vocab_size(self) -> int | None:
        """How many token ids the network has, where that is said."""
        if self.tokenizer is not None and self.tokenizer.vocab_size is not None:
            return self.tokenizer.vocab_size
        size = None if self.torch is None else _embedded(self.torch.config)
        return size if isinstance(size, int) else None  # what else it may be, the architecture refuses


def _embedded(config: dict[str, Any]) -> object:
    """How many ids the embedding of `bert` has, or that of `sequential` where its first layer is one."""
    match config:
        case {"vocab_size": size}:
            return size
        case {"layers": [{"type": "embedding", "num_embeddings": size}, *_]}:
            return size
    return None
