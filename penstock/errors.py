"""What a person who runs `penstock` can put right.

Not part of the tree in `schemas/errors.py`: it has no HTTP status, no job fails with it and no client ever sees it.
"""


class StackError(Exception):
    """One line: what stands in the way and, where we know, what helps. The command prints it and exits with 1."""


def in_a_line(error: BaseException) -> str:
    """What went wrong, for a person: of an operating system's error the reason and the file, else type and text."""
    if isinstance(error, StackError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename is not None else error.strerror
    if isinstance(error, TimeoutError):
        return "no answer in time"
    said = " ".join(str(error).split())
    name = type(error).__name__
    return said if said.startswith(f"{name}: ") else f"{name}: {said}" if said else name
