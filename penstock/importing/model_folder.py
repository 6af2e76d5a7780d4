"""A model as it is to stand in a model repository, and putting it there whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import yaml

from penstock.plain import printable
from schemas.errors import ConfigurationError
from schemas.names import MODEL_NAME
from workers.inference.models.model_file import take_exponents
from workers.inference.models.repository import ModelRepository


class _Dumper(yaml.SafeDumper):
    """Puts a text into quotes that the reader of model.yaml would take for a number."""


take_exponents(_Dumper)


class ModelFolder(NamedTuple):
    """`fields` are those of model.yaml. `files` says where each file comes from, by its path in the model's folder;
    all of them lie in `origin`. `texts` are files that are written here.

    `notes` tell what became of something, or that it was left behind: a line each.
    """

    fields: Mapping[str, Any]
    origin: Path
    files: Mapping[str, Path]
    notes: Sequence[str] = ()
    texts: Mapping[str, str] = MappingProxyType({})

    @property
    def name(self) -> str:
        return str(self.fields["name"])


def model_name(given: str | None, own: str, notes: list[str]) -> str:
    """The `given` name, else the model's `own` as it may be here; a note tells where that is another."""
    name = given or own.lower().replace("_", "-").replace(".", "-").replace(" ", "-")
    if not MODEL_NAME.fullmatch(name):
        raise ConfigurationError(f"{name!r} cannot be a model's name here ({MODEL_NAME.pattern}): --name gives another")
    if name != own:
        notes.append(f"name: {own} is {name} here")
    return name


def put_into(repository: Path, folder: ModelFolder, *, origin: str, link: bool = False) -> Path:
    """Write the model's folder into `repository`, and say where it is.

    With `link`, files are linked hard where the file system can, and copied elsewhere. Raises as `put_whole`, and
    `ConfigurationError` if a link leads out of where the model comes from.
    """
    return put_whole(repository, folder.name, lambda directory: _build(directory, folder, origin, link))


def put_whole(repository: Path, name: str, build: Callable[[Path], None]) -> Path:
    """Have `build` write the model's folder, and move it into `repository`; say where it is.

    It is built aside, read as a worker would read it, and moved into place: nobody sees half of it. Raises
    `ConfigurationError` if a model of that name is there already, or if a worker could not read what came out; then
    nothing is left behind.
    """
    target = repository / name
    if target.exists():
        raise ConfigurationError(f"{target}: is there already")
    try:
        repository.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".importing-", dir=repository) as aside:
            build(Path(aside) / name)
            _check(Path(aside), target)
            (Path(aside) / name).rename(target)
    except OSError as error:
        raise ConfigurationError(f"{target}: cannot be written: {error}") from error
    return target


def _build(directory: Path, folder: ModelFolder, origin: str, link: bool) -> None:
    directory.mkdir()
    for path, source in folder.files.items():
        if not source.resolve().is_relative_to(folder.origin.resolve()):
            raise ConfigurationError(f"{source}: leads out of {folder.origin}, so it is not taken along")
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        _link_or_copy(source, directory / path) if link else shutil.copyfile(source, directory / path)
    for path, text in folder.texts.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_text(text, encoding="utf-8")
    # A name in a note is what a file says: with a line of its own it would be no comment.
    head = "".join(f"# {printable(line)}\n" for line in [f"Made from {origin}.", *folder.notes])
    content = yaml.dump(
        dict(folder.fields), Dumper=_Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True, width=120
    )
    (directory / "model.yaml").write_text(f"{head}{content}", encoding="utf-8")


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def _check(aside: Path, target: Path) -> None:
    """Whether a worker with every runtime and all trust can read it; loading it is the worker's."""
    try:
        ModelRepository(aside, is_installed=lambda _: True, trust="code").scan([target.name])
    except ConfigurationError as error:
        raise ConfigurationError(error.message.replace(str(aside), str(target.parent))) from error


def files_under(directory: Path) -> Iterator[tuple[str, Path]]:
    """Every file below `directory`, with its path from there."""
    for source in sorted(directory.rglob("*")):
        if source.is_file():
            yield source.relative_to(directory).as_posix(), source
