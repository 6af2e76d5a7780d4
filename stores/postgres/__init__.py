"""The truth: jobs, results and idempotency keys in Postgres."""

from stores.postgres.admissions import PostgresAdmissions
from stores.postgres.jobs import PostgresJobs
from stores.postgres.migrations import migrate, require_migrated
from stores.postgres.results import PostgresResults

__all__ = ["PostgresAdmissions", "PostgresJobs", "PostgresResults", "migrate", "require_migrated"]
