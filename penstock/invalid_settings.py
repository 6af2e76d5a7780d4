"""What the roles would refuse of this environment."""

from pydantic import ValidationError

from gateway.settings import GatewaySettings
from runtime.settings import Settings, mistakes
from workers.inference.settings import WorkerSettings
from workers.router.settings import RouterSettings
from workers.sink.settings import SinkSettings

ROLE_SETTINGS: tuple[type[Settings], ...] = (GatewaySettings, RouterSettings, WorkerSettings, SinkSettings)


def invalid_settings() -> list[str]:
    """One line for each mistake in the PENSTOCK_* variables of this process; roles share many, each is told once."""
    told: dict[str, None] = {}
    for settings in ROLE_SETTINGS:
        try:
            settings()
        except ValidationError as error:
            told.update(dict.fromkeys(mistakes(error)))
    return list(told)
