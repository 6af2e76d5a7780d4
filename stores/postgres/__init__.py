"""The truth: jobs, results, idempotency keys, routes and rollouts in Postgres.

The latter two, which only some roles need, are in `routes` and `rollouts`.
"""

from stores.postgres.admissions import PostgresAdmissions
from stores.postgres.jobs import PostgresJobs
from stores.postgres.migrations import SchemaState, migrate, require_migrated, schema_state
from stores.postgres.purging import PostgresPurging
from stores.postgres.results import PostgresResults

__all__ = [
    "PostgresAdmissions",
    "PostgresJobs",
    "PostgresPurging",
    "PostgresResults",
    "SchemaState",
    "migrate",
    "require_migrated",
    "schema_state",
]
