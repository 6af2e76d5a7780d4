"""What a worker makes of its repository when it starts: what it says, what it waits for, and what it refuses."""

from collections.abc import Mapping, Sequence

from runtime.logs import get_logger
from schemas.errors import ConfigurationError
from workers.inference.models.model_version import ModelVersion
from workers.inference.models.repository import ModelRepository, all_in_full, in_full, is_meant, told_once

log = get_logger(__name__)


def look_first(repository: ModelRepository, patterns: Sequence[str]) -> Sequence[ModelVersion]:
    """Log what is left out of what the patterns name, and why; or that there is nothing yet. Returns what is there.

    Raises `ConfigurationError` for a name in full that is not there, since it may be misspelt, and where nothing can be
    served and no pattern has a wildcard: then waiting would hide the mistake.
    """
    if not repository.path.exists():
        _wait_for_models(f"there is no folder {repository.path} yet", patterns)
        return []
    survey = repository.survey(patterns)
    for problem in survey.problems:
        log.error("model left out", model=problem.model, version=problem.version, reason=problem.error.message)
    for pattern in in_full(patterns):
        repository.check_meaning(pattern, survey)
    if not survey.versions:
        told = "; ".join(told_once(survey.problems))
        _wait_for_models(told or f"there is no model in {repository.path} yet", patterns)
    return survey.versions


def _wait_for_models(reason: str, patterns: Sequence[str]) -> None:
    if all_in_full(patterns):
        raise ConfigurationError(reason)
    log.warning("waiting for models", reason=reason)


def why_incomplete(patterns: Sequence[str], served: int, failed: Mapping[str, str]) -> str | None:
    """What the worker should serve and cannot, with the reasons; None where nothing is missed.

    `served`: how many versions are. `failed` maps a version's name, or a model's, to why it cannot be. What a pattern
    names in full is missed; of what wildcards met only all together.
    """
    missed = {name: reason for name, reason in failed.items() if is_meant(in_full(patterns), name)}
    if not (missed or served):
        missed = dict(failed)
    return "; ".join(f"{name}: {reason}" for name, reason in missed.items()) or None
