"""The model repository: what a worker here would serve, and what it would leave out, as far as that shows unloaded."""

from functools import partial
from pathlib import Path
from typing import Final

from penstock.doctor.examining import in_thread
from penstock.doctor.findings import Finding, Level, Tell
from penstock.errors import in_a_line
from schemas.errors import ConfigurationError
from workers.inference.models.model_version import ModelVersion
from workers.inference.models.pin import digest_of
from workers.inference.models.platforms import Trust
from workers.inference.models.repository import ModelRepository

SUBJECT: Final = "models"


class ModelsCheck:
    """`trust`: that of the workers."""

    def __init__(self, repository: Path, trust: Trust) -> None:
        self._repository = ModelRepository(repository, trust=trust)

    async def __call__(self, tell: Tell) -> None:
        if not await in_thread(self._repository.path.exists):
            told = f"there is no folder {self._repository.path}: workers wait for it"
            tell(Finding(SUBJECT, Level.WARNING, told, "make it, or name another by PENSTOCK_MODEL_REPOSITORY"))
            return
        try:
            survey = await in_thread(self._repository.survey)
        except ConfigurationError as error:
            tell(Finding(SUBJECT, Level.PROBLEM, error.message))
            return
        for problem in survey.problems:
            tell(Finding(SUBJECT, Level.PROBLEM, f"{problem.name} is left out: {problem.error.message}"))
        for version in survey.versions:
            tell(await in_thread(partial(judged, version)))
        if not (survey.problems or survey.versions):
            told = f"there is no model in {self._repository.path} yet"
            tell(Finding(SUBJECT, Level.WARNING, told, "docs/models.md says how to add one"))


def judged(version: ModelVersion) -> Finding:
    """Its pins are held against its files; whether it can be loaded only loading shows."""
    try:
        mistakes = [mistake for pin in version.pins if (mistake := pin.mistake(digest_of(pin.file))) is not None]
    except OSError as error:
        return Finding(SUBJECT, Level.PROBLEM, f"{version.name} is left out: {in_a_line(error)}")
    if mistakes:
        return Finding(SUBJECT, Level.PROBLEM, f"{version.name} is left out: {'; '.join(mistakes)}")
    count = len(version.pins)
    pinned = f", {count} file{'s' if count > 1 else ''} as pinned" if count else ""
    return Finding(SUBJECT, Level.OK, f"{version.name} can be tried: {version.platform}{pinned}")
