"""Jobs that may run together are collected into micro-batches."""
