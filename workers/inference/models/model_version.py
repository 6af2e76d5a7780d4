"""One version of a model in the repository, as read from its model.yaml and ready to be loaded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from schemas.signature import Signature, TensorSpec
from workers.inference.batching.compatibility import PLAIN, BatchCompatibility
from workers.inference.models.compare_config import CompareConfig
from workers.inference.models.model_config import Isolation, MetricValue, Warmup
from workers.inference.models.model_parameters import Parameters
from workers.inference.models.pin import Pin
from workers.inference.models.platforms import PlatformName
from workers.inference.models.reference_rows import ReferenceRows


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """What a worker needs to know of a model version. Nothing is loaded yet.

    A micro-batch holds at most `max_batch_size` rows and is formed `max_wait_s` after its first row came.
    Where its size is `adaptive`, a run shall take `latency_target_s` at most.
    `warmups` are what to run before the version is said to be ready; where it is None, what `warmup.warmups_of` says.
    """

    model: str
    version: str
    directory: Path  # <repository>/<model>/<version>
    file: Path  # the weights, inside `directory`
    platform: PlatformName
    max_batch_size: int
    max_wait_s: float
    latency_target_s: float | None = None
    adaptive: bool = True
    signature: Signature
    rules: BatchCompatibility = PLAIN
    warmups: tuple[Warmup, ...] | None = None
    reference_rows: ReferenceRows | None = None
    compare: CompareConfig | None = None  # how a shadow's answers are compared; None: by labels, or as numbers
    parameters: Parameters = field(default_factory=Parameters)
    isolation: Isolation = "none"
    tells_errors: bool = False  # clients are told what its exceptions say
    run_limit_s: float | None = None  # of one run; None: as long as it takes
    retention_s: int | None = None  # how long its jobs are kept after their ends; None: the default
    tokenizer_file: Path | None = None  # of a model that takes text
    description: str = ""
    metrics: Mapping[str, MetricValue] = field(default_factory=dict)
    batchless: frozenset[str] = frozenset()  # tensors of the graph without a batch dimension
    is_default: bool = False
    pins: tuple[Pin, ...] = ()

    @property
    def name(self) -> str:
        """`<model>/<version>`, as patterns and messages write it."""
        return f"{self.model}/{self.version}"

    @property
    def network(self) -> Signature:
        """What the network itself takes: tokens in place of the text, and the masks that are made of padding."""
        tokenizer, padded = self.parameters.tokenizer, self.rules.padding.inputs
        text, produced = (None, ()) if tokenizer is None else (tokenizer.input, tokenizer.produces)
        tokens = [TensorSpec(name, "INT64", (-1, -1)) for name in produced]
        given = [spec for spec in self.signature.inputs if spec.name != text]
        masks = [each.mask for each in padded.values() if each.mask is not None]
        return Signature(inputs=(*tokens, *given, *masks), outputs=self.signature.outputs)
