"""What clients see of the catalog, as JSON."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec

from gateway.serving import Serving, Standing, State
from runtime.clock import unix_s
from schemas.catalog import CatalogEntry
from schemas.model_states import ModelState, WantedState
from schemas.signature import ImageSpec, TensorSpec
from schemas.versions import natural_order


class VersionStateDocument(msgspec.Struct, frozen=True):
    """How a version stands. `reason` says why a worker could not load what is in its repository.

    `workers` are how many serve it now; null where that cannot be told at the moment.
    """

    version: str
    state: State
    reason: str | None
    workers: int | None


class ModelDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A model: its versions in ascending order, and the one a job gets that names none.

    `version_states` has also those that jobs cannot get; of a model that has no others, `default_version` is null.
    `reason` says why a worker can read nothing of the model.
    """

    id: str
    object: Literal["model"] = "model"
    created: int  # Unix seconds: when its newest version was announced; 0 where none was
    owned_by: Literal["penstock"] = "penstock"
    default_version: str | None
    versions: list[str]
    version_states: list[VersionStateDocument]
    reason: str | None


class VersionDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A model version and its signature. Shapes begin with the batch dimension, which is -1."""

    id: str
    object: Literal["model_version"] = "model_version"
    model: str
    version: str
    default: bool
    state: State
    reason: str | None
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


def encode_models(serving: Serving) -> bytes:
    return _encoder.encode(ModelList([_model(serving, *each) for each in serving.models().items()]))


def encode_model(serving: Serving, model: str) -> bytes:
    """Raises `ModelNotFound`."""
    document = _model(serving, model, serving.versions(model))
    if not document.version_states and document.reason is None:
        serving.snapshot.choose(model, None)
    return _encoder.encode(document)


def encode_version(serving: Serving, model: str, version: str) -> bytes:
    """Raises `ModelNotFound`."""
    entry = serving.known(model, version)
    default = serving.snapshot.choose(model, None) is entry
    return _encoder.encode(_version(entry, serving.standing(model, version), default=default))


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


def _model(serving: Serving, name: str, standings: Mapping[str, Standing]) -> ModelDocument:
    versions = serving.snapshot.models.get(name, {})
    return ModelDocument(
        id=name,
        created=max((unix_s(entry.announced_at) for entry in versions.values()), default=0),
        default_version=serving.snapshot.choose(name, None).version if versions else None,
        versions=sorted(versions, key=natural_order),
        version_states=[
            VersionStateDocument(version, *how, serving.workers(name, version)) for version, how in standings.items()
        ],
        reason=serving.refusal(name),
    )


def _version(entry: CatalogEntry, standing: Standing, *, default: bool) -> VersionDocument:
    signature = entry.signature
    return VersionDocument(
        id=f"{entry.model}/{entry.version}",
        model=entry.model,
        version=entry.version,
        default=default,
        state=standing.state,
        reason=standing.reason,
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
