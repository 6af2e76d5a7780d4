"""What clients see of the catalog, as JSON."""

from datetime import datetime
from typing import Any, Literal

import msgspec

from schemas.catalog import CatalogEntry
from schemas.model_states import ModelState, WantedState
from schemas.signature import ImageSpec, TensorSpec
from schemas.versions import CatalogSnapshot, natural_order


class ModelDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A model: its versions in ascending order, and the one a job gets that names none."""

    id: str
    object: Literal["model"] = "model"
    created: int  # Unix seconds: when its newest version was announced
    owned_by: Literal["penstock"] = "penstock"
    default_version: str
    versions: list[str]


class VersionDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A model version and its signature. Shapes begin with the batch dimension, which is -1."""

    id: str
    object: Literal["model_version"] = "model_version"
    model: str
    version: str
    default: bool
    platform: str
    max_batch_size: int
    description: str
    metrics: dict[str, Any]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    features: tuple[str, ...]
    image: ImageSpec | None
    announced_at: datetime


class WantedStateDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted of a model version. Workers act on it; `url` is answered with 200 while one has announced it.

    `announced` says whether the catalog holds the version now. One that it does not hold may still be loaded, by a
    worker whose repository has it; nobody here can know.
    """

    id: str
    object: Literal["model_version_state"] = "model_version_state"
    model: str
    version: str
    state: ModelState
    requested_at: datetime
    announced: bool
    url: str


class ModelList(msgspec.Struct, frozen=True):
    """All models, by name."""

    data: list[ModelDocument]
    has_more: bool = False
    object: Literal["list"] = "list"


_encoder = msgspec.json.Encoder()


def encode_models(snapshot: CatalogSnapshot) -> bytes:
    return _encoder.encode(ModelList([_model(snapshot, name) for name in sorted(snapshot.models)]))


def encode_model(snapshot: CatalogSnapshot, model: str) -> bytes:
    """Raises `ModelNotFound`."""
    return _encoder.encode(_model(snapshot, model))


def encode_version(snapshot: CatalogSnapshot, model: str, version: str) -> bytes:
    """Raises `ModelNotFound`."""
    entry = snapshot.choose(model, version)
    return _encoder.encode(_version(entry, default=snapshot.choose(model, None) is entry))


def encode_wanted(model: str, version: str, wanted: WantedState, *, announced: bool, url: str) -> bytes:
    return _encoder.encode(
        WantedStateDocument(
            id=f"{model}/{version}",
            model=model,
            version=version,
            state=wanted.state,
            requested_at=wanted.at,
            announced=announced,
            url=url,
        )
    )


def _model(snapshot: CatalogSnapshot, name: str) -> ModelDocument:
    default = snapshot.choose(name, None)
    versions = snapshot.models[name]
    newest = max(entry.announced_at for entry in versions.values())
    return ModelDocument(
        id=name,
        created=int(newest.timestamp()),
        default_version=default.version,
        versions=sorted(versions, key=natural_order),
    )


def _version(entry: CatalogEntry, *, default: bool) -> VersionDocument:
    signature = entry.signature
    return VersionDocument(
        id=f"{entry.model}/{entry.version}",
        model=entry.model,
        version=entry.version,
        default=default,
        platform=entry.platform,
        max_batch_size=entry.max_batch_size,
        description=entry.description,
        metrics=entry.metrics,
        inputs=signature.inputs,
        outputs=signature.outputs,
        features=signature.features,
        image=signature.image,
        announced_at=entry.announced_at,
    )
