"""What the roles, and what prepares their way, would refuse of this environment."""

from pydantic import ValidationError

from gateway.settings import GatewaySettings
from penstock.preparing import MigrateSettings
from runtime.settings import Settings, mistakes
from workers.inference.settings import WorkerSettings
from workers.router.settings import RouterSettings
from workers.sink.settings import SinkSettings

ALL_SETTINGS: tuple[type[Settings], ...] = (
    MigrateSettings,
    GatewaySettings,
    RouterSettings,
    WorkerSettings,
    SinkSettings,
)


def invalid_settings() -> list[str]:
    """One line for each mistake in the PENSTOCK_* variables of this process; roles share many, each is told once."""
    told: dict[str, None] = {}
    for settings in ALL_SETTINGS:
        try:
            settings()
        except ValidationError as error:
            told.update(dict.fromkeys(mistakes(error)))
    return list(told)
