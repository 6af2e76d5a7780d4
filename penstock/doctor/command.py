"""The options of `penstock doctor`, and what it examines."""

import asyncio
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import click
from pydantic import ValidationError

from penstock.doctor.examining import Examination, examine
from penstock.doctor.findings import EXIT_STATUS, Check, Finding, Level, Tell, worst
from penstock.doctor.gateway import SUBJECT as ROLES
from penstock.doctor.gateway import RolesCheck
from penstock.doctor.kafka import KafkaCheck
from penstock.doctor.kafka_state import SUBJECT as KAFKA_SUBJECT
from penstock.doctor.machine import SUBJECT as MACHINE
from penstock.doctor.machine import MachineCheck
from penstock.doctor.models import SUBJECT as MODELS
from penstock.doctor.models import ModelsCheck
from penstock.doctor.postgres import SUBJECT as POSTGRES_SUBJECT
from penstock.doctor.postgres import PostgresCheck
from penstock.doctor.redis import SUBJECT as REDIS_SUBJECT
from penstock.doctor.redis import RedisCheck
from penstock.doctor.rendering import Secrets, document, lines
from penstock.doctor.settings import SUBJECT as SETTINGS
from penstock.doctor.settings import SettingsCheck
from penstock.doctor.webhooks import SUBJECT as WEBHOOKS
from penstock.doctor.webhooks import WebhooksCheck
from penstock.embedded.locations import default_data_dir
from penstock.finding import DATA_DIR, found_by
from penstock.help import examples
from penstock.migrate_settings import MigrateSettings
from penstock.running import GATEWAY_URL, KAFKA, POSTGRES, REDIS, Found
from penstock.showing import JSON, is_terminal, show_json
from runtime.settings import RedisSettings, settings_in
from workers.inference.settings import WorkerSettings

LIMIT_S: Final = 10.0
NOTHING_RUNS: Final = Finding(
    "stack",
    Level.WARNING,
    "no `penstock up` runs here, and no variable says where Kafka, Postgres, Redis or a gateway is",
    "start `penstock up`, name its --data-dir, or set the variables",
)
GATEWAY_ALONE: Final = Finding(
    "stack",
    Level.OK,
    f"of variables that say where things are, {GATEWAY_URL} alone is set: Kafka, Postgres, Redis and models are not"
    " examined",
)
HELP: Final = examples(
    "penstock doctor",
    "penstock doctor --json | jq '.findings[] | select(.level != \"ok\")'",
    reads="all PENSTOCK_* variables of the roles, see docs/configuration.md; where none of "
    f"{KAFKA}, {POSTGRES}, {REDIS} and {GATEWAY_URL} is set, those of the `penstock up` that runs.",
)


@click.command(epilog=HELP)
@DATA_DIR
@click.option(
    "--timeout",
    "limit_s",
    type=click.FloatRange(0.1, 600),
    default=LIMIT_S,
    show_default=True,
    help="Seconds that each part may take; all are examined at the same time.",
)
@JSON
def doctor(data_dir: Path | None, limit_s: float, *, as_json: bool) -> None:
    """Say what is wrong with a stack, and what to do about it.

    Examines the settings, this machine, Kafka, Postgres, Redis, webhooks, the roles and the model repository, and
    changes nothing. No password is shown.

    Exits with 0 where all is well, with 1 where something should be seen to, with 2 where something is broken.
    """
    found = found_by(data_dir, KAFKA, POSTGRES, REDIS, GATEWAY_URL)
    examination = run(checks_of(found), limit_s)
    secrets = secrets_of(found.environ)
    findings = [secrets.hidden(finding) for finding in examination.findings]
    if as_json:
        show_json(document(findings))
    else:
        for line in lines(findings, shutil.get_terminal_size().columns if is_terminal() else None):
            click.echo(line)
    leave(EXIT_STATUS[worst(findings)], cut_off=examination.cut_off)


def run(checks: Mapping[str, Check], limit_s: float) -> Examination:
    """Not by `asyncio.run`, which waits in the end for whatever hangs in a thread, such as the look-up of a name."""
    loop = asyncio.new_event_loop()
    examination = loop.run_until_complete(examine(checks, limit_s))
    if not examination.cut_off:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
    return examination


def leave(status: int, *, cut_off: bool) -> None:
    if cut_off:  # what hangs would hold up the interpreter's end
        sys.stdout.flush()
        os._exit(status)
    raise SystemExit(status)


def checks_of(found: Found) -> dict[str, Check]:
    environ = found.environ
    data_dir = Path(found.running.data_dir) if found.running else default_data_dir(os.getuid())
    named = [name for name in (KAFKA, POSTGRES, REDIS, GATEWAY_URL) if environ.get(name)]
    # Whoever asks a gateway elsewhere has no services here, and would be told that the default addresses are dead.
    asks_only = found.running is None and named == [GATEWAY_URL]
    embeds = found.running is not None or not (environ.get(KAFKA) or asks_only)
    checks: dict[str, Check] = {
        SETTINGS: SettingsCheck(os.environ),
        MACHINE: MachineCheck(data_dir, environ, needs_java=embeds),
    }
    if asks_only:
        return {**checks, GATEWAY_ALONE.subject: _say(GATEWAY_ALONE), ROLES: _roles(found)}
    if not named:
        checks[NOTHING_RUNS.subject] = _say(NOTHING_RUNS)
    else:
        checks.update(_services(environ))
        checks[ROLES] = _roles(found)
    worker = _unless_invalid(lambda: _models(settings_in(WorkerSettings, environ)))
    return checks if worker is None else {**checks, MODELS: worker}


def _services(environ: Mapping[str, str]) -> dict[str, Check]:
    services: dict[str, Callable[[], Check]] = {
        KAFKA_SUBJECT: lambda: KafkaCheck(settings_in(MigrateSettings, environ)),
        POSTGRES_SUBJECT: lambda: PostgresCheck(settings_in(MigrateSettings, environ).postgres_dsn.get_secret_value()),
        REDIS_SUBJECT: lambda: RedisCheck(settings_in(RedisSettings, environ).redis_url.get_secret_value()),
        WEBHOOKS: lambda: WebhooksCheck(settings_in(MigrateSettings, environ).postgres_dsn.get_secret_value()),
    }
    return {subject: made for subject, make in services.items() if (made := _unless_invalid(make))}


def _roles(found: Found) -> RolesCheck:
    health = found.running.health if found.running else {}
    return RolesCheck(found.gateway_url, _origin_of_gateway(found), health)


def _origin_of_gateway(found: Found) -> str:
    if found.running is not None:
        return found.origin
    return f"{GATEWAY_URL} names it" if found.environ.get(GATEWAY_URL) else f"the default, unless {GATEWAY_URL} is set"


def _models(settings: WorkerSettings) -> Check:
    return ModelsCheck(settings.model_repository, settings.worker_trust)


def _unless_invalid(make: Callable[[], Check]) -> Check | None:
    """None where its settings are invalid, of which the check of the settings tells."""
    try:
        return make()
    except ValidationError:
        return None


def _say(finding: Finding) -> Check:
    async def check(tell: Tell) -> None:
        tell(finding)

    return check


def secrets_of(environ: Mapping[str, str]) -> Secrets:
    addresses = [environ.get(name, "") for name in (POSTGRES, REDIS, GATEWAY_URL)]
    return Secrets(addresses, [environ.get("PENSTOCK_KAFKA_SASL_PASSWORD")])
