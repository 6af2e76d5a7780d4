"""A stack that is broken: a package, so that it ends with this folder."""
