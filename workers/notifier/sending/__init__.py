"""One attempt: where it may go, how it gets there, what its answer means."""
