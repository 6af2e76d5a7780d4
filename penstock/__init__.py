"""The front door: the `penstock` command and the embedded stack."""
