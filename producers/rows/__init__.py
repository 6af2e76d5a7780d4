"""Rows of a file, or of an iterable, run in bulk straight over Kafka."""
