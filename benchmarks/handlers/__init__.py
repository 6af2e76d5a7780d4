"""Handlers that measurements serve."""
