"""Reading model.yaml: YAML to checked values, a version's overrides laid over the model's fields, errors in words."""

import math
import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.errors import ConfigurationError
from schemas.names import MODEL_NAME, VERSION
from workers.inference.models.model_config import VersionConfig
from workers.inference.models.yaml_mistakes import explain

# A model.yaml beyond this is not one: YAML is parsed in memory.
MAX_BYTES: Final = 1024 * 1024

VersionName = Annotated[str, Field(pattern=f"^{VERSION.pattern}$")]


class _Head(BaseModel):
    """The fields that say something of the model rather than of a version."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    name: str = Field(pattern=f"^{MODEL_NAME.pattern}$")
    default_version: VersionName | None = None
    versions: dict[VersionName, dict[str, Any]] = {}


class _Whole(VersionConfig, _Head):
    """All keys that a file may have at its top."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model.yaml whose head is sound. `fields` hold for every version, `overrides` for one each."""

    path: Path
    name: str
    default_version: str | None
    fields: Mapping[str, Any]
    overrides: Mapping[str, Mapping[str, Any]]

    def version(self, version: str) -> VersionConfig:
        """The configuration of one version. Raises `ConfigurationError` naming the file and every field at fault.

        An override replaces the whole field: lists and sections are not merged.
        """
        overrides = self.overrides.get(version, {})
        merged = {**self.fields, **overrides}
        if isinstance(merged.get("platform"), str):
            merged["platform"] = [merged["platform"]]
        try:
            return VersionConfig.model_validate_json(_json(self.path, merged))
        except ValidationError as error:
            raise ConfigurationError(
                explain(self.path, error, dict.fromkeys(overrides, f"versions.{version}"), _Whole)
            ) from error


def read_model_file(path: Path) -> ModelFile:
    """Read a model.yaml. Raises `ConfigurationError` naming the file and what is wrong in it."""
    raw = _read_yaml(path)
    try:
        head = _Head.model_validate_json(_json(path, raw))
    except ValidationError as error:
        raise ConfigurationError(explain(path, error)) from error
    fields = {key: value for key, value in raw.items() if key not in _Head.model_fields}
    return ModelFile(path, head.name, head.default_version, fields, head.versions)


def _json(path: Path, value: object) -> bytes:
    # Pydantic's strict mode takes a JSON list for a tuple, but not a Python list. Dates become text.
    try:
        return orjson.dumps(value, default=str)
    except orjson.JSONEncodeError as error:
        raise ConfigurationError(f"{path}: holds a value that is none of JSON's: {error}") from error


def take_exponents(side: type[yaml.SafeLoader] | type[yaml.SafeDumper]) -> None:
    """Have it know `1e-3` and `1.5e3` for numbers: to PyYAML both are text, for want of a point or of a sign."""
    number = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$")
    side.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+.0123456789"))


class _Loader(yaml.SafeLoader):
    """YAML whose keys are text and unique, so that `1:` or a second `"1":` is an error instead of a surprise.

    Without aliases, which can make a short file expand to gigabytes.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "aliases are not taken", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} must be text: put it in quotes", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is there twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)

    def finite(self, node: yaml.ScalarNode) -> float:
        value: float = self.construct_yaml_float(node)
        if math.isinf(value):  # JSON would make it null, and so a field that was not given
            raise yaml.constructor.ConstructorError(None, None, "infinity is not taken", node.start_mark)
        return value


_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.finite)
take_exponents(_Loader)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise ConfigurationError(f"{path}: is larger than {MAX_BYTES} bytes")
    try:
        value = yaml.load(data, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigurationError(f"{path}{place}: {error.problem}") from error
    except RecursionError as error:
        raise ConfigurationError(f"{path}: is nested too deeply") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigurationError(f"{path}: is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(value, dict):
        raise ConfigurationError(f"{path}: must be a mapping of fields, as name: {path.parent.name}")
    return value
