"""The router: jobs whose version is still open, or that are tried again, moved into their lanes."""
