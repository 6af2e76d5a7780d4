"""The runs of a micro-batch: slices, halves, and what a failure is about."""
