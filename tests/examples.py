"""How many examples a property is tried on, where it is not the usual number."""

from typing import Any

from hypothesis import settings

WHOLE = 100  # the usual number where the whole suite runs


def examples(count: int, **more: Any) -> settings:
    """`count` of them in the whole suite, and as many fewer in a quick one as of any other property."""
    return settings(max_examples=count * settings().max_examples // WHOLE, **more)
