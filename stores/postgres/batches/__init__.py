"""Files and batches in Postgres."""
