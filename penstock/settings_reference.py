"""What each setting means, from the settings classes: for docs/configuration.md and for the help of commands."""

from collections.abc import Mapping
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from gateway.settings import GatewaySettings
from penstock.migrate_settings import MigrateSettings
from runtime.settings import Settings
from workers.feeder.settings import FeederSettings
from workers.inference.settings import WorkerSettings
from workers.notifier.settings import NotifierSettings
from workers.rollout.settings import RolloutSettings
from workers.router.settings import RouterSettings
from workers.sink.settings import SinkSettings

COMMANDS: Final[Mapping[str, type[Settings]]] = {
    "gateway": GatewaySettings,
    "router": RouterSettings,
    "worker": WorkerSettings,
    "sink": SinkSettings,
    "notifier": NotifierSettings,
    "feeder": FeederSettings,
    "rollout-controller": RolloutSettings,
    "migrate": MigrateSettings,
}


def readers() -> dict[str, list[str]]:
    """For each field the commands that read it, in the order of the classes."""
    found: dict[str, list[str]] = {}
    for command, settings in COMMANDS.items():
        for name in settings.model_fields:
            found.setdefault(name, []).append(command)
    return found


def default(field: FieldInfo) -> str:
    """Empty where there is none."""
    value = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
    return "" if value is None else str(value)


def meaning(field: FieldInfo) -> str:
    """In Markdown, but for `<`."""
    rules = [rule for rule in (_choices(field.annotation), _bounds(field)) if rule]
    return "; ".join([field.description or "", *rules])


def _choices(annotation: Any) -> str | None:
    if get_origin(annotation) is not Literal:
        return None
    return "one of " + ", ".join(f"`{choice}`" for choice in get_args(annotation))


def _bounds(field: FieldInfo) -> str | None:
    bounds = {name: getattr(rule, name) for rule in field.metadata for name in ("ge", "le") if hasattr(rule, name)}
    match bounds:
        case {"ge": least, "le": most}:
            return f"{least} to {most}"
        case {"ge": least}:
            return f"at least {least}"
        case {"le": most}:
            return f"at most {most}"
    return None
