"""The schema, as numbered SQL files beside this one. Each is applied once and never edited afterwards.

`files` says what there is, `ledger` what a database knows of it, `state` how the two stand to each other; `running` and
`applying` bring the database up to date.
"""

from stores.postgres.migrations.applying import Pace
from stores.postgres.migrations.files import Kind, Migration, known_migrations, newest_known
from stores.postgres.migrations.running import migrate
from stores.postgres.migrations.sessions import ConnectedRole
from stores.postgres.migrations.state import (
    SchemaState,
    Standing,
    Step,
    refuse_contracted,
    require_migrated,
    schema_state,
)

__all__ = [
    "ConnectedRole",
    "Kind",
    "Migration",
    "Pace",
    "SchemaState",
    "Standing",
    "Step",
    "known_migrations",
    "migrate",
    "newest_known",
    "refuse_contracted",
    "require_migrated",
    "schema_state",
]
