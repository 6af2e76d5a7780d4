"""The way of a micro-batch: form, prepare, execute, complete."""
