"""Rows of a file, or of an iterator, run in bulk straight over Kafka: `run_rows` is what others begin with."""
