"""Webhooks in Postgres."""
