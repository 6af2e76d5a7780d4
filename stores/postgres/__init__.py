"""The truth: jobs, results and idempotency keys in Postgres; all else, which only some roles need, is in modules of its
own."""

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
