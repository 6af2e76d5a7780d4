"""The truth: jobs, results and idempotency keys in Postgres."""

from stores.postgres.admissions import PostgresAdmissions
from stores.postgres.endings import PostgresEndings
from stores.postgres.jobs import PostgresJobs
from stores.postgres.migrations import migrate, require_migrated

__all__ = ["PostgresAdmissions", "PostgresEndings", "PostgresJobs", "migrate", "require_migrated"]
