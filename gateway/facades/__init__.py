"""Forms in which clients that exist already ask, each read and answered by a small file over one road."""
