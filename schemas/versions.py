"""Which versions of which models there are, and which of them a job gets. Pure: gateway and router choose alike."""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from schemas.catalog import CatalogEntry
from schemas.errors import ModelNotFound
from schemas.routes import LATEST, STABLE, Choice, Route, choose
from schemas.signature import Signature

Versions = Mapping[str, CatalogEntry]
# Reads a job's sticky key from a source that a route names: see `schemas.sticky_keys`.
KeyFrom = Callable[[str], str | None]

# In what two versions may differ for callers.
INPUTS: Final = "inputs"
OUTPUTS: Final = "outputs"
# An error names at most this many models or versions.
NAMED_AT_MOST: Final = 20

_DIGITS: Final = re.compile(r"(\d+)")


class CatalogSnapshot:
    """An immutable view of the catalog: entries by model and version, and the default version of each model."""

    __slots__ = ("_defaults", "_models")

    def __init__(self, models: Mapping[str, Versions] | None = None) -> None:
        self._models = MappingProxyType(dict(models or {}))
        self._defaults = {model: default_version(versions) for model, versions in self._models.items()}

    @property
    def models(self) -> Mapping[str, Versions]:
        """Entries by model, then by version. No model is without versions."""
        return self._models

    def choose(self, model: str, pinned: str | None) -> CatalogEntry:
        """The entry a job gets: the pinned version, else the default. Raises `ModelNotFound` naming what exists."""
        entry = self._defaults.get(model) if pinned is None else self._models.get(model, {}).get(pinned)
        if entry is None:
            raise self._not_found(model, pinned)
        return entry

    def get(self, model: str, version: str) -> CatalogEntry | None:
        return self._models.get(model, {}).get(version)

    def with_entry(self, entry: CatalogEntry) -> "CatalogSnapshot":
        versions = {**self._models.get(entry.model, {}), entry.version: entry}
        return CatalogSnapshot({**self._models, entry.model: versions})

    def without(self, model: str, version: str) -> "CatalogSnapshot":
        versions = {name: entry for name, entry in self._models.get(model, {}).items() if name != version}
        others = {name: entries for name, entries in self._models.items() if name != model}
        return CatalogSnapshot({**others, model: versions} if versions else others)

    def _not_found(self, model: str, pinned: str | None) -> ModelNotFound:
        versions = self._models.get(model)
        if versions is None or pinned is None:
            return ModelNotFound(_no_model(model, self._models), param="model")
        known = _listed(sorted(versions, key=natural_order))
        return ModelNotFound(f"model {model!r} has no version {_short(pinned)}; it has {known}", param="version")


class Placed(NamedTuple):
    """The version a job gets, and what is stamped on it. `passed_over` is the one that the route gave it, where no
    worker has announced that."""

    entry: CatalogEntry
    choice: Choice
    passed_over: str | None = None


def place(
    catalog: CatalogSnapshot,
    route: Route | None,
    model: str,
    asked: str | None,
    tenant: str,
    job_id: str,
    key_from: KeyFrom,
) -> Placed:
    """The version of a job that asks for a model, and perhaps for one of its versions by name, label or `latest`.

    `route` is the model's, if it has one. Raises `ModelNotFound`, and what `key_from` raises.
    """
    if asked is None and route is not None:
        return served(catalog, route, choose(route, tenant, key_from(route.sticky.source), job_id))
    if asked is None or catalog.get(model, asked) is not None:
        entry = catalog.choose(model, asked)
        return Placed(entry, Choice(entry.version))
    if route is not None and (asked == STABLE or asked in route.labels):
        version = route.labels.get(asked, route.default)
        choice = Choice(version, route.variants.get(version), route.revision)
        return served(catalog, route, choice) if asked == STABLE else Placed(catalog.choose(model, version), choice)
    entry = _named(catalog, model, asked)
    return Placed(entry, Choice(entry.version))


def served(catalog: CatalogSnapshot, route: Route, choice: Choice) -> Placed:
    """The version that the route chose; or its default, or the catalog's, where no worker has announced that."""
    entry = catalog.get(route.model, choice.version)
    if entry is None:
        entry = catalog.get(route.model, route.default) or catalog.choose(route.model, None)
        version = entry.version
        instead = choice._replace(version=version, variant=route.variants.get(version), rescue_to=None)
        return Placed(entry, instead, choice.version)
    if choice.rescue_to is not None:
        other = catalog.get(route.model, choice.rescue_to)
        if other is None or not takes_the_same(entry.signature, other.signature):
            choice = choice._replace(rescue_to=None)
    return Placed(entry, choice)


def takes_the_same(one: Signature, other: Signature) -> bool:
    """Whether what was made of a job's input for one version is right for the other as well.

    Nobody can tell any more whether its tensors were named features, in the order of the one's columns, or an image, in
    the one's scale.
    """
    return (one.inputs, one.features, one.image) == (other.inputs, other.features, other.image)


def differences(one: Signature, other: Signature) -> tuple[str, ...]:
    """In what two versions differ, as far as callers are concerned: `inputs`, `outputs`."""
    differs = {INPUTS: not takes_the_same(one, other), OUTPUTS: one.outputs != other.outputs}
    return tuple(part for part, is_other in differs.items() if is_other)


def _named(catalog: CatalogSnapshot, model: str, asked: str) -> CatalogEntry:
    """What `latest` and, without a route, `stable` mean. Raises `ModelNotFound` for any other name."""
    versions = catalog.models.get(model)
    if versions and asked == LATEST:
        return versions[max(versions, key=natural_order)]
    return catalog.choose(model, None if versions and asked == STABLE else asked)


def default_version(versions: Versions) -> CatalogEntry:
    """The version announced as default, the latest announcement where several are; else the highest.

    `versions` holds one entry or more.
    """
    marked = [entry for entry in versions.values() if entry.is_default]
    if marked:
        return max(marked, key=lambda entry: (entry.announced_at, natural_order(entry.version)))
    return versions[max(versions, key=natural_order)]


def natural_order(version: str) -> tuple[tuple[str | int, ...], str]:
    """A sort key in which `10` is above `9` and `1.10` above `1.9`."""
    # Splitting at runs of digits gives text and numbers in turn, so like is always compared with like.
    parts: tuple[str | int, ...] = tuple(
        int(part) if index % 2 else part for index, part in enumerate(_DIGITS.split(version))
    )
    return parts, version


def _no_model(model: str, models: Mapping[str, Versions]) -> str:
    if not models:
        return f"there is no model {_short(model)}; no worker has announced any model yet"
    return f"there is no model {_short(model)}; there are {_listed(sorted(models))}"


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:NAMED_AT_MOST])
    more = len(names) - NAMED_AT_MOST
    return f"{shown} and {more} more" if more > 0 else shown


def _short(name: str) -> str:
    return repr(name if len(name) <= 64 else f"{name[:61]}...")
