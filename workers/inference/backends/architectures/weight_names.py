"""Names of weights that an architecture and a file do not have in common, in words. Pure."""

from collections.abc import Collection, Sequence
from typing import Final

SHOWN: Final = 4  # names of each kind


def misfit_of(lost: Sequence[str], left: Sequence[str], in_file: Sequence[str]) -> str:
    """`lost` are names that the architecture has and the file has not, `left` the other way round, `in_file` all of the
    file. One of the first two is not empty."""
    told = []
    if lost:
        told.append(f"Missing key(s) in state_dict: {_quoted(lost)}")
    if left:
        told.append(f"Unexpected key(s) in state_dict: {_quoted(left)}")
    if lost:
        prefix = prefix_of(lost, in_file)
        found = "" if prefix is None else f', and the file has all of them behind "{prefix}"'
        told.append(f'the file has to carry the architecture\'s own names (docs/pytorch.md, "Names of weights"){found}')
    else:
        line = ", ".join(f'"{pattern}"' for pattern in patterns_of(left, set(in_file) - set(left)))
        told.append(
            f"this line under parameters.torch leaves them out, if they are not needed: unused_weights: [{line}]"
        )
    return "; ".join(told)


def patterns_of(names: Sequence[str], used: Collection[str]) -> list[str]:
    """The fewest patterns that meet all of `names` and nothing that is `used`: by the shortest beginning, up to a dot,
    that is theirs alone; else the names themselves."""
    patterns: dict[str, None] = {}
    for name in names:
        parts = name.split(".")
        beginnings = [".".join(parts[:count]) + "." for count in range(1, len(parts))]
        own = next((each for each in beginnings if not any(other.startswith(each) for other in used)), None)
        patterns[name if own is None else f"{own}*"] = None
    return list(patterns)


def prefix_of(lost: Sequence[str], in_file: Collection[str]) -> str | None:
    """What stands before all the names that are `lost` in the file; None where that is nothing they share."""
    names = set(in_file)
    candidates = [name.removesuffix(lost[0]) for name in in_file if name.endswith(f".{lost[0]}")]
    return next((each for each in candidates if all(f"{each}{name}" in names for name in lost)), None)


def _quoted(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(f'"{name}"' for name in names[:SHOWN]) + more
