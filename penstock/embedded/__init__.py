"""Postgres, Valkey and Kafka as child processes: nothing to install by hand, no Docker, no fakes."""
