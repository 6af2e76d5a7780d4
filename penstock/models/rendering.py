"""What a person sees of models. Pure."""

from collections.abc import Iterator, Sequence
from typing import Final

from penstock.documents import Document

TITLES: Final = ("MODEL", "VERSION", "STATE", "REASON")


def rows(models: Sequence[Document]) -> list[tuple[str, ...]]:
    """One for each version; the default version of each model is marked."""
    return [row for model in models for row in _versions(model)]


def _versions(model: Document) -> Iterator[tuple[str, ...]]:
    if not model["version_states"]:
        yield model["id"], "", "refused", model["reason"] or ""
    for each in model["version_states"]:
        default = " (default)" if each["version"] == model["default_version"] else ""
        yield model["id"], f"{each['version']}{default}", each["state"], each["reason"] or ""
