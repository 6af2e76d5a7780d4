"""Digests of a model's files put into the text of its model.yaml, of which nothing else changes."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from penstock.models.yaml_edit import put_at
from schemas.errors import ConfigurationError
from schemas.names import is_version
from workers.inference.models.model_file import ModelFile, read_model_file
from workers.inference.models.pin import digest_of
from workers.inference.models.platforms import PLATFORMS, Platform
from workers.inference.models.snapshot import COMPILED

FIELD: Final = "sha256"
Pins = dict[str, str]  # digests by file name


def pinned_text(directory: Path, *, everything: bool = False) -> tuple[str, str]:
    """The text of a model's model.yaml as it is, and with its pins as its files are.

    Pinned are what is pinned already and still there, what runs code, and of handlers every file in the version's
    folder, since they see no others; with `everything`, every file in any version's folder. Raises
    `ConfigurationError` for a model.yaml that cannot be read, or is written in a way in which it cannot be changed.
    """
    path = directory / "model.yaml"
    file = read_model_file(path)
    wanted = {
        version: _pins_of(path, directory / version, {**file.fields, **file.overrides.get(version, {})}, everything)
        for version in sorted(each.name for each in directory.iterdir() if is_version(each.name) and each.is_dir())
    }
    if not wanted:
        raise ConfigurationError(f"{directory}: has no version; {directory / '1'} would be one")
    changes = _changes(file, wanted)
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: is not UTF-8") from error
    changed = _edited(text, changes)
    if changed is None or not _says(changed, file, changes):
        pins = "; ".join(f"{'.'.join(place)}: {dict(pins)}" for place, pins in changes.items())
        raise ConfigurationError(f"{path}: cannot be changed as it is written; put this in by hand: {pins}")
    return text, changed


def _pins_of(path: Path, directory: Path, fields: Mapping[str, Any], everything: bool) -> Pins:
    """Of the version in `directory`; `path` is that of its model.yaml."""
    platforms = _platforms(path, fields.get("platform"))
    names = {platform.filename for platform in platforms if platform.runs_code}
    if (module := _compared_by(fields)) is not None:
        names.add(module)
    if everything or any(platform.keeps_files for platform in platforms):
        names |= set(_files_in(directory))
    given = fields.get(FIELD)
    before = list(given) if isinstance(given, Mapping) else []
    pins = {}
    for name in [*before, *sorted(names - set(before))]:
        for place in (directory, directory.parent):
            if (place / name).is_file():
                pins[name] = _digest(place, name)
                break
    return pins


def _compared_by(fields: Mapping[str, Any]) -> str | None:
    """The file of the function that compares a shadow's answers, if there is one."""
    compare = fields.get("compare")
    function = compare.get("function") if isinstance(compare, Mapping) else None
    return f"{function.partition(':')[0]}.py" if isinstance(function, str) and ":" in function else None


def _platforms(path: Path, named: object) -> list[Platform]:
    """Raises `ConfigurationError` for one that nobody knows: it may be one that runs code, misspelt."""
    names: list[Any] = named if isinstance(named, list) else [] if named is None else [named]
    unknown = [name for name in names if not (isinstance(name, str) and name in PLATFORMS)]
    if unknown:
        raise ConfigurationError(f"{path}: platform: {unknown[0]!r} is none of {', '.join(PLATFORMS)}")
    return [PLATFORMS[name] for name in names]


def _files_in(directory: Path) -> Iterator[str]:
    for path in directory.rglob("*"):
        name = path.relative_to(directory)
        if path.is_file() and COMPILED not in name.parts and not any(part.startswith(".") for part in name.parts):
            yield name.as_posix()


def _digest(place: Path, name: str) -> str:
    path = place / name
    if not path.resolve().is_relative_to(place.resolve()):
        raise ConfigurationError(f"{path}: leads out of {place}, so a worker would not read it")
    try:
        return digest_of(path)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error


def _changes(file: ModelFile, wanted: Mapping[str, Pins]) -> dict[Sequence[str], Pins]:
    """The `sha256` fields that are not as they should be, by where they stand. What all versions that have no field of
    their own agree on stands at the top, for all of them."""
    own = {version for version in wanted if FIELD in file.overrides.get(version, {})}
    sharing = [wanted[version] for version in wanted if version not in own]
    alike = all(pins == sharing[0] for pins in sharing)
    shared = sharing[0] if sharing and alike else {}
    places: dict[Sequence[str], Pins] = {}
    if sharing:
        places[(FIELD,)] = shared
    for version, pins in wanted.items():
        if version in own or not alike:
            places[("versions", version, FIELD)] = pins
    return {place: pins for place, pins in places.items() if _at(file, place) != (pins or None)}


def _at(file: ModelFile, place: Sequence[str]) -> object:
    fields = file.fields if len(place) == 1 else file.overrides.get(place[1], {})
    return fields.get(FIELD) or None


def _edited(text: str, changes: Mapping[Sequence[str], Pins]) -> str | None:
    for place, pins in changes.items():
        try:
            text = put_at(text, place, pins)
        except (yaml.YAMLError, LookupError, TypeError, ValueError, AttributeError):
            return None
    return text


def _says(text: str, before: ModelFile, changes: Mapping[Sequence[str], Pins]) -> bool:
    """Whether the changed text says what the file said before, and the pins besides."""
    fields = dict(before.fields)
    overrides = {version: dict(own) for version, own in before.overrides.items()}
    for place, pins in changes.items():
        section = fields if len(place) == 1 else overrides.setdefault(place[1], {})
        section.pop(FIELD, None)
        if pins:
            section[FIELD] = pins
    with tempfile.TemporaryDirectory() as aside:
        copy = Path(aside) / "model.yaml"
        copy.write_bytes(text.encode())
        try:
            after = read_model_file(copy)
        except ConfigurationError:
            return False
    return (after.fields, after.overrides) == (fields, overrides)
