"""`penstock migrate`: tables and topics, for those who do not leave it to `penstock up`."""

import asyncio
import json
from collections.abc import Coroutine
from typing import Any, TypeVar

import click

from penstock.help import examples
from penstock.migrate_settings import MigrateSettings
from penstock.preparing import prepare, told_with_address
from penstock.schema_report import lines_of, object_of
from runtime.logs import configure_logs
from runtime.settings import load
from schemas.errors import ConfigurationError, PenstockError
from stores.postgres import SchemaState, schema_state

T = TypeVar("T")


@click.command(
    epilog=examples(
        "penstock migrate",
        "PENSTOCK_POSTGRES_DSN=postgresql://penstock@db.example.com/penstock \\",
        "  penstock migrate --status",
        reads="PENSTOCK_POSTGRES_DSN, PENSTOCK_KAFKA_BOOTSTRAP_SERVERS and the others of Kafka, PENSTOCK_TOPIC_PREFIX, "
        "PENSTOCK_TOPIC_PARTITIONS, PENSTOCK_LOG_LEVEL; docs/configuration.md tells what they mean.",
    )
)
@click.option("--wait", is_flag=True, help="Wait for roles of older versions to end, then finish what they hold up.")
@click.option("--status", is_flag=True, help="Change nothing; show which migrations the database has.")
@click.option("--json", "as_json", is_flag=True, help="With --status: as one JSON object.")
def migrate(*, wait: bool, status: bool, as_json: bool) -> None:
    """Bring the database up to date and create the topics that are missing.

    To be run before the first start and before each upgrade, while the roles of the version before go on working; with
    nothing left to do it does nothing. What those roles still use is taken away by a later run, once they have ended.
    A run that was cut off at any moment is gone on with by the next one. Workers create the topics of their models'
    lanes themselves.

    Exits with 0 if roles of this version can start, also where something is left for later; with 1 if a service does
    not answer, a migration failed or, with --status, one is missing; with 2 if the settings or the database do not fit
    this version.
    """
    if as_json and not status:
        raise click.UsageError("--json goes with --status")
    settings = load(MigrateSettings)
    configure_logs(settings, "migrate")
    if status:
        state = _run(schema_state(settings.postgres_dsn.get_secret_value()))
        _show(state, as_json=as_json)
        raise SystemExit(2 if state.conflict else 1 if state.missing else 0)
    _run(prepare(settings, click.echo, click.echo, wait_for_roles=wait))


def _show(state: SchemaState, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(object_of(state)))
        return
    for line in lines_of(state):
        click.echo(line)


def _run(work: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work)
    except PenstockError as error:
        click.echo(f"Error: {told_with_address(error)}", err=True)
        raise SystemExit(2 if isinstance(error, ConfigurationError) else 1) from error
