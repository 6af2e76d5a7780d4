"""The runs of a micro-batch: slices, pieces, and what a failure is about."""
