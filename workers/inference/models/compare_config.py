"""`compare` of model.yaml: when a shadow's answer is taken to be the same as the one that callers got."""

import re
from collections.abc import Iterator, Sequence
from typing import Final, Self

from pydantic import Field, NonNegativeFloat, model_validator

from workers.inference.models.model_parameters import Section
from workers.inference.models.tensor_config import OutputConfig

# What floats may differ by where model.yaml does not say.
ABSOLUTE: Final = 1e-4
RELATIVE: Final = 1e-3

_FUNCTION: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*):([A-Za-z_][A-Za-z0-9_]*)")


class CompareTolerance(Section):
    absolute: NonNegativeFloat = ABSOLUTE
    relative: NonNegativeFloat = RELATIVE


class CompareConfig(Section):
    """Exactly one of them: floats that are about the same, the class that an output says, or a function of the
    model's."""

    tolerance: CompareTolerance | None = None
    label: str | None = Field(None, min_length=1)  # an output's name
    function: str | None = None  # <module>:<name>; the module is a file beside the model's, and pinned

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if sum(each is not None for each in (self.tolerance, self.label, self.function)) != 1:
            raise ValueError("must have exactly one of tolerance, label and function")
        if self.function is not None and not _FUNCTION.fullmatch(self.function):
            raise ValueError("function must be <module>:<name>, as compare:same for same() in compare.py")
        return self

    @property
    def module_file(self) -> str | None:
        """The name of the file that has the function."""
        return None if self.function is None else f"{self.function.partition(':')[0]}.py"


def compare_problems(
    config: CompareConfig | None, outputs: Sequence[OutputConfig], pinned: Sequence[str], trust: str
) -> Iterator[str]:
    """What is wrong with it in a version that has these outputs and pins these files."""
    if config is None:
        return
    if config.label is not None and config.label not in [tensor.name for tensor in outputs]:
        yield f"compare.label: {config.label!r} is not among the outputs"
    if config.module_file is not None:
        if trust != "code":
            yield "trust: must be code, since compare.function is code that the model brings"
        if config.module_file not in pinned:
            yield (
                f"sha256: must pin {config.module_file}, which compare.function is in "
                "(`penstock models pin` writes it there)"
            )
