"""What a person who runs `penstock` can put right.

Not part of the tree in `schemas/errors.py`: it has no HTTP status, no job fails with it and no client ever sees it.
"""


class StackError(Exception):
    """One line: what stands in the way and, where we know, what helps. The command prints it and exits with 1."""
