"""Giving back what is kept no longer, by one mechanism for all tables.

`rules` says which table is purged by what condition; `by_index`, `by_walk` and `slots` are the ways to do it; `purging`
does it step by step.
"""

from stores.postgres.purging.purging import PostgresPurging

__all__ = ["PostgresPurging"]
