"""The model of all of them: token ids to a sum of vectors, for a whole batch at once, as models do it.

A token id beyond the vocabulary raises, and takes everybody in the batch along: the commonest bad row there is.
"""

import numpy as np

VOCABULARY = 1000
BATCH_ROWS = 65
COLLECT_S = 2.0
TOKENS = 8

TABLE = np.random.default_rng(0).standard_normal((VOCABULARY, 16))


def predict(rows: list[list[int]]) -> list[float]:
    """One number a row of `TOKENS` token ids. Raises `IndexError` where one of them is no token."""
    return [float(value) for value in TABLE[np.asarray(rows)].sum(axis=(1, 2))]
