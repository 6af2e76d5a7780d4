"""Graphs that `torch.export` wrote, run by torch. The archive holds pickles: the file is pinned and trusted."""

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch.export.passes import move_to_device_pass

from schemas.errors import ConfigurationError, JobError
from schemas.signature import Datatype, Signature
from workers.inference.backends.fixed_rows import rows_mistake
from workers.inference.backends.torch_module import TorchBackend, choose_device, torch_backend
from workers.inference.models.model_parameters import TorchParameters
from workers.inference.models.model_version import ModelVersion

_DATATYPES: Final[dict[torch.dtype, Datatype]] = {
    torch.bool: "BOOL",
    torch.uint8: "UINT8",
    torch.uint16: "UINT16",
    torch.uint32: "UINT32",
    torch.uint64: "UINT64",
    torch.int8: "INT8",
    torch.int16: "INT16",
    torch.int32: "INT32",
    torch.int64: "INT64",
    torch.float16: "FP16",
    torch.float32: "FP32",
    torch.float64: "FP64",
}


class ExportedModule(torch.nn.Module):
    """Takes the inputs by name, as the graph wants them, and gives the outputs by name."""

    def __init__(self, graph: torch.nn.Module, positional: Sequence[str], outputs: Sequence[str]) -> None:
        super().__init__()
        self._graph = graph
        self._positional = positional
        self._outputs = outputs

    def forward(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        positional = [inputs.pop(name) for name in self._positional]
        answer: Any = self._graph(*positional, **inputs)
        if isinstance(answer, dict):
            return answer
        answers = [answer] if isinstance(answer, torch.Tensor) else list(answer)
        if len(answers) != len(self._outputs):
            raise JobError(f"the graph returned {len(answers)} tensors for {len(self._outputs)} outputs")
        return dict(zip(self._outputs, answers, strict=True))


def load_exported(version: ModelVersion, signature: Signature, device: str) -> TorchBackend:
    """Load the graph and hold it against `signature`. Raises `ConfigurationError` naming file, tensor and rule.

    Inputs that were exported by position are taken in the order of model.yaml, those by keyword by name. Outputs of a
    tuple are in the order of model.yaml, those of a dict by name.
    """
    try:
        program = torch.export.load(version.file)
    except (Exception, SystemExit) as error:  # a pickle may raise anything
        reason = str(error).partition("\n")[0]
        raise ConfigurationError(f"{version.file}: cannot be loaded: {type(error).__name__}: {reason}") from error
    positional = _positional(version, signature, program)
    if mistakes := _mistakes(signature, positional, program, version.rules.batch_sizes):
        raise ConfigurationError(f"{version.file}: model.yaml does not fit the graph: {'; '.join(mistakes)}")
    where = choose_device(device)
    if where.type != "cpu":  # constants of the graph stand where it was exported
        program = move_to_device_pass(program, where)
    module = ExportedModule(program.module(), positional, [spec.name for spec in signature.outputs])
    return torch_backend(module, version, signature, device, version.parameters.torch or TorchParameters())


def _positional(version: ModelVersion, signature: Signature, program: torch.export.ExportedProgram) -> list[str]:
    """The inputs that the graph takes by position, in its order."""
    by_position, by_keyword = program.call_spec.in_spec.children()
    keywords = set(by_keyword.context)
    names = [spec.name for spec in signature.inputs if spec.name not in keywords]
    lost = sorted(keywords - {spec.name for spec in signature.inputs})
    if len(names) != by_position.num_children or lost:
        raise ConfigurationError(
            f"{version.file}: the graph takes {by_position.num_children} inputs by position"
            f"{' and ' + ', '.join(sorted(keywords)) if keywords else ''}, and model.yaml has "
            f"{', '.join(spec.name for spec in signature.inputs)}"
        )
    return names


def _mistakes(
    signature: Signature,
    positional: Sequence[str],
    program: torch.export.ExportedProgram,
    batch_sizes: tuple[int, ...],
) -> list[str]:
    specs = {spec.name: spec for spec in signature.inputs}
    keywords = program.call_spec.in_spec.children()[1].context
    values = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    mistakes = []
    for name, user_input in zip([*positional, *keywords], program.graph_signature.user_inputs, strict=True):
        value, spec = values[user_input], specs[name]
        sizes = [size if isinstance(size, int) else -1 for size in value.shape]
        if _DATATYPES.get(value.dtype) != spec.datatype:
            mistakes.append(f"input {name!r} is {spec.datatype}, and {_DATATYPES.get(value.dtype)} in the graph")
        if sizes and sizes[0] != -1 and (mistake := rows_mistake(sizes[0], batch_sizes)) is not None:
            mistakes.append(f"input {name!r} {mistake}")
        elif len(sizes) != len(spec.shape) or any(
            size not in (-1, want) for want, size in zip(spec.shape[1:], sizes[1:], strict=True)
        ):
            mistakes.append(f"input {name!r} has shape {list(spec.shape)}, and {sizes} in the graph (-1: any size)")
    return mistakes
