"""Models as files: whether a worker can serve them, and what their model.yaml pins."""
