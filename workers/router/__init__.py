"""The router: jobs whose version is still open, checked, given a version and moved into its lane."""
