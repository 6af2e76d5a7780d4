"""The worker: lanes in, micro-batches through the model, results out."""
