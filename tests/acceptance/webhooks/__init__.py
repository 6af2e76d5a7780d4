"""Webhooks while what sends them is killed."""
