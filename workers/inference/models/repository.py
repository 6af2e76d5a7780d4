"""The model repository: a directory of models, each with a model.yaml and a directory for each version.

`<repository>/<model>/model.yaml` and `<repository>/<model>/<version>/model.onnx | model.safetensors`.
"""

import os
import re
import stat
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, NamedTuple

from runtime.logs import get_logger
from schemas.errors import ConfigurationError
from schemas.malformed import closest
from schemas.names import is_model_name, is_version
from workers.inference.models.model_file import ModelFile, read_model_file
from workers.inference.models.model_version import ModelVersion
from workers.inference.models.platforms import Trust
from workers.inference.models.platforms import is_installed as module_is_installed
from workers.inference.models.snapshot import Files, Found, Snapshot, files_in, files_under, mark
from workers.inference.models.version_directory import read_version

__all__ = ["ModelRepository", "ModelVersion", "Problem", "Survey"]

log = get_logger(__name__)

_WILDCARD: Final = re.compile(r"[*?\[]")


class Problem(NamedTuple):
    """A model, or one version of it, that cannot be served, and why."""

    model: str
    version: str | None  # None: the whole model
    error: ConfigurationError

    @property
    def name(self) -> str:
        return self.model if self.version is None else f"{self.model}/{self.version}"


class Survey(NamedTuple):
    versions: list[ModelVersion]
    problems: list[Problem]


class ModelRepository:
    """Reads what stands in the directory; holds and caches nothing, so every scan sees the disk as it is."""

    def __init__(
        self, path: Path, is_installed: Callable[[str], bool] = module_is_installed, trust: Trust = "data"
    ) -> None:
        self.path = path
        self._is_installed = is_installed
        self._trust = trust

    def scan(self, patterns: Sequence[str] = ("*",)) -> list[ModelVersion]:
        """The model versions that any of `patterns` names: `digits`, `digits/2`, `digits*/*`, `*`; for who needs all.

        In order of model and version, `10` after `9`. A model that a wildcard met and that cannot be served is
        logged and left out. Raises `ConfigurationError` for a pattern that finds nothing, and for a model or version
        that is named without wildcards and cannot be served.
        """
        survey = self.survey(patterns)
        for pattern in patterns:
            self.check_meaning(pattern, survey)
            _check_pattern(pattern, survey)
        for problem in survey.problems:
            log.error("model left out", model=problem.model, version=problem.version, reason=problem.error.message)
        return survey.versions

    def survey(self, patterns: Sequence[str] = ("*",)) -> Survey:
        """What the patterns name: the versions that can be served, and what is wrong with the others.

        A pattern that finds nothing is no error. Raises `ConfigurationError` where the directory cannot be listed.
        """
        everything = self._read_all(patterns)
        return Survey(
            [version for version in everything.versions if _matches_any(patterns, version.model, version.version)],
            [problem for problem in everything.problems if _matches_any(patterns, problem.model, problem.version)],
        )

    def check_meaning(self, pattern: str, survey: Survey) -> None:
        """Raise `ConfigurationError` for a pattern that means nothing in a `survey`, sound or not; with what it may be
        meant to be."""
        names = [version.name for version in survey.versions] + [problem.name for problem in survey.problems]
        if any(is_meant([pattern], name) for name in names):
            return
        models = self._model_directories()
        versions = [f"{model.name}/{version}" for model in models for version in _versions_in(model)]
        known = versions if "/" in pattern else [model.name for model in models]
        meant = None if _WILDCARD.search(pattern) else closest(pattern, known)
        hint = f": is {meant} meant?" if meant else ""
        raise ConfigurationError(f"no model in {self.path} matches {pattern!r}{hint}")

    def look(self, patterns: Sequence[str] = ("*",)) -> Snapshot:
        """What can be served of what the patterns name, its files, and what is wrong with the rest.

        For who looks again and again: a pattern that finds nothing is no error. Raises `ConfigurationError` where the
        directory itself cannot be listed; whatever else cannot be read is a problem of its model or version.
        """
        files, unlisted = self._files(patterns)
        everything = self._read_all(patterns)
        return Snapshot(
            {
                version.name: Found(version, files[version.name], _tokenizer_files(version))
                for version in everything.versions
                if version.name in files
            },
            {
                problem.name: problem.error.message
                for problem in everything.problems
                if _matches_any(patterns, problem.model, problem.version)
            },
            frozenset(files),
            unlisted,
        )

    def marks(self, patterns: Sequence[str] = ("*",)) -> Files:
        """All files that a look would depend on, which costs less than the look. Raises as `look`."""
        of_versions = self._files(patterns)[0].values()
        of_models = (files_in(directory) for directory in self._model_directories())
        return frozenset().union(*of_versions, *of_models)

    def _files(self, patterns: Sequence[str]) -> tuple[dict[str, Files], frozenset[str]]:
        """The files of each version's directory, by the version's name; and the models that could not be listed."""
        files, unlisted = {}, set()
        for model in self._model_directories():
            try:
                for version in _versions_in(model):
                    if _matches_any(patterns, model.name, version):
                        files[f"{model.name}/{version}"] = files_under(model / version)
            except OSError:
                unlisted.add(model.name)
        return files, frozenset(unlisted)

    def _read_all(self, patterns: Sequence[str]) -> Survey:
        survey = Survey([], [])
        for directory in self._model_directories():
            if not any(fnmatchcase(directory.name, pattern.partition("/")[0]) for pattern in patterns):
                continue
            try:
                file, default_version, versions = self._read_model(directory)
            except Exception as error:
                survey.problems.append(Problem(directory.name, None, _problem(directory, error)))
                continue
            for version in versions:
                try:
                    survey.versions.append(self._read_version(file, version, version == default_version))
                except Exception as error:
                    problem = _problem(directory / version, error)
                    survey.problems.append(Problem(directory.name, version, problem))
        return survey

    def _model_directories(self) -> list[Path]:
        try:
            return sorted(entry for entry in self.path.iterdir() if _may_be_model(entry))
        except OSError as error:
            raise ConfigurationError(f"model repository {self.path}: cannot be read: {error.strerror}") from error

    def _read_model(self, directory: Path) -> tuple[ModelFile, str, list[str]]:
        """The model.yaml, the default version and all versions in order."""
        file = read_model_file(directory / "model.yaml")
        if file.name != directory.name:
            raise ConfigurationError(f"{file.path}: name: is {file.name!r}, and its directory {directory.name!r}")
        versions = sorted(_versions_in(directory), key=natural_order)
        if not versions:
            raise ConfigurationError(f"{directory}: has no version; {directory / '1'} would be one")
        for field, names in (("default_version", [file.default_version or versions[-1]]), ("versions", file.overrides)):
            unknown = [name for name in names if name not in versions]
            if unknown:
                raise ConfigurationError(
                    f"{file.path}: {field}: there is no version {unknown[0]!r}, only {', '.join(versions)}"
                )
        return file, file.default_version or versions[-1], versions

    def _read_version(self, file: ModelFile, version: str, is_default: bool) -> ModelVersion:
        return read_version(file, version, is_default=is_default, is_installed=self._is_installed, trust=self._trust)


def _may_be_model(directory: Path) -> bool:
    """Whether there is a model.yaml, or may be one that cannot be seen: reading it tells why."""
    try:
        return stat.S_ISREG((directory / "model.yaml").stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # what can be no model anyway, such as lost+found, is nobody's mistake
        return is_model_name(directory.name)


def _versions_in(directory: Path) -> list[str]:
    """The names of the version folders; a link that cannot be followed counts as one. Raises `OSError`."""
    with os.scandir(directory) as entries:
        return [entry.name for entry in entries if is_version(entry.name) and _may_be_directory(entry)]


def _may_be_directory(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return True


def _problem(path: Path, error: Exception) -> ConfigurationError:
    """Whatever reading met: a model that cannot be read must not keep others from being served."""
    match error:
        case ConfigurationError():
            return error
        case OSError():
            told = ConfigurationError(f"{error.filename or path}: cannot be read: {error.strerror or error}")
        case _:
            told = ConfigurationError(f"{path}: cannot be read: {type(error).__name__}: {error}")
    told.__cause__ = error
    return told


def _tokenizer_files(version: ModelVersion) -> Files:
    return frozenset() if version.tokenizer_file is None else mark(version.tokenizer_file)


def natural_order(version: str) -> tuple[list[tuple[int, int, str]], str]:
    """A sort key under which `9` comes before `10` and `1.9` before `1.10`; numbers come before words."""
    parts = re.findall(r"\d+|[^\d.-]+", version)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts], version


def _matches(pattern: str, model: str, version: str | None) -> bool:
    model_pattern, _, version_pattern = pattern.partition("/")
    # A model that cannot be read at all stands in the way of each of its versions.
    return fnmatchcase(model, model_pattern) and (version is None or fnmatchcase(version, version_pattern or "*"))


def _matches_any(patterns: Iterable[str], model: str, version: str | None) -> bool:
    return any(_matches(pattern, model, version) for pattern in patterns)


def in_full(patterns: Iterable[str]) -> list[str]:
    """Those without wildcards: what they name is missed where it is not served."""
    return [pattern for pattern in patterns if not _WILDCARD.search(pattern)]


def all_in_full(patterns: Iterable[str]) -> bool:
    return not any(map(_WILDCARD.search, patterns))


def is_meant(patterns: Iterable[str], name: str) -> bool:
    """Whether any of the patterns means `<model>/<version>`, or `<model>` for the whole of a model."""
    model, _, version = name.partition("/")
    return _matches_any(patterns, model, version or None)


def _check_pattern(pattern: str, survey: Survey) -> None:
    """Raise for a pattern that names something by its full name which cannot be served, or meets nothing else."""
    problems = [problem for problem in survey.problems if _matches(pattern, problem.model, problem.version)]
    found = any(_matches(pattern, version.model, version.version) for version in survey.versions)
    if problems and (not found or not _WILDCARD.search(pattern)):
        raise ConfigurationError("; ".join(told_once(problems)))


def told_once(problems: Iterable[Problem]) -> list[str]:
    """The messages; a mistake that several versions share is told once."""
    return list(dict.fromkeys(problem.error.message for problem in problems))
