"""What the roles, and what prepares their way, would refuse of this environment, and what they would not heed."""

import os
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Final

from pydantic import ValidationError

from penstock.migrate_settings import MigrateSettings
from penstock.settings_reference import COMMANDS
from runtime.settings import PREFIX, Settings, mistakes, settings_in

ALL_SETTINGS: tuple[type[Settings], ...] = tuple(dict.fromkeys([MigrateSettings, *COMMANDS.values()]))
# Read by commands, by the Compose file and by tests; by no role.
OTHERS: Final = frozenset(
    f"{PREFIX}{name}"
    for name in (
        *("CACHE_DIR", "GATEWAY_URL", "JAVA", "MAVEN_REPOSITORY_URL", "SUBMIT_TO", "TEST_SERVICES"),
        *("POSTGRES_PASSWORD", "KAFKA_PORT", "PROMETHEUS_PORT", "GRAFANA_PORT", "GRAFANA_PASSWORD"),
    )
)
# What Kubernetes tells each container of a service that is called `penstock-...`.
OF_KUBERNETES: Final = re.compile(r".+_SERVICE_(HOST|PORT(_\w+)?)|.+_PORT(_\d+_(TCP|UDP)(_\w+)?)")


def invalid_settings(environ: Mapping[str, str] = os.environ) -> list[str]:
    """One line for each mistake in the PENSTOCK_* variables; roles share many, each is told once."""
    told: dict[str, None] = {}
    for settings in ALL_SETTINGS:
        try:
            settings_in(settings, environ)
        except ValidationError as error:
            told.update(dict.fromkeys(mistakes(error)))
    return list(told)


def unknown_variables(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Variables with our prefix that nobody reads, each with a line that says so and what may be meant."""
    known = OTHERS | {f"{PREFIX}{name.upper()}" for settings in ALL_SETTINGS for name in settings.model_fields}
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in known and not OF_KUBERNETES.fullmatch(name):
            meant = get_close_matches(name, known, n=1, cutoff=0.8)
            yield name, f"{name} is no setting{f': is {meant[0]} meant?' if meant else ''}"
