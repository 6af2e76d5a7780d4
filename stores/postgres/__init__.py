"""The truth: jobs, results, idempotency keys, routes and rollouts in Postgres."""

from stores.postgres.admissions import PostgresAdmissions
from stores.postgres.jobs import PostgresJobs
from stores.postgres.migrations import SchemaState, migrate, require_migrated, schema_state
from stores.postgres.purging import PostgresPurging
from stores.postgres.results import PostgresResults
from stores.postgres.rollouts import PostgresRollouts
from stores.postgres.routes import PostgresRoutes

__all__ = [
    "PostgresAdmissions",
    "PostgresJobs",
    "PostgresPurging",
    "PostgresResults",
    "PostgresRollouts",
    "PostgresRoutes",
    "SchemaState",
    "migrate",
    "require_migrated",
    "schema_state",
]
