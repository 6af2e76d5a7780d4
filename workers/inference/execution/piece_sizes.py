"""How many items to run together, where each may be bad: the cheapest way, on average, to an end for all. Pure.

This is group testing (Sobel and Groll, "Group Testing To Eliminate Efficiently All Defectives in a Binomial Sample",
1959): their nested procedure with the best sizes, found by dynamic programming. Two things differ. What is counted is
the price of runs, `1 + item_price * items` each, so that a run of many items may be dearer than one of few. And an item
that must be bad because the others of a failed run passed is run as well: it is to fail with an error of its own.

With few bad items everything is run together, and where that fails, in halves. With more of them the first runs are
smaller. From a share of about 38 % on each item runs alone (Ungar, 1960).
"""

import math
from functools import lru_cache
from typing import Final

import numpy as np

from schemas.tensors import Array

# A version that has shown nothing bad is taken to have so many bad items, and its items are run all together.
SHARE_AT_FIRST: Final = 0.001
# Larger numbers of items are planned as if so many groups of some of them were the items.
MOST_PLANNED: Final = 256
# Plans are made for shares that differ by this factor: between two of them sizes hardly differ.
SHARE_STEP: Final = math.sqrt(2)
# What a micro-batch shows of its own items counts against what others have shown as if these were so many.
KNOWN_ITEMS: Final = 32
# What was seen that many items ago counts a third. Rates that change are followed, and single bad items forgotten.
MEMORY_ITEMS: Final = 512
FIRST_ITEMS: Final = 50


class BadShare:
    """The share of bad items of a model version, learned from the micro-batches before."""

    def __init__(self) -> None:
        self._items = float(FIRST_ITEMS)
        self._bad = FIRST_ITEMS * SHARE_AT_FIRST

    @property
    def value(self) -> float:
        return self._bad / self._items

    @property
    def negligible(self) -> bool:
        """Whether the version has hardly any: micro-batches run whole at first."""
        return self.value <= SHARE_AT_FIRST

    def learn(self, bad: int, good: int) -> None:
        kept = math.exp(-(bad + good) / MEMORY_ITEMS)
        floor = FIRST_ITEMS * SHARE_AT_FIRST
        self._bad = floor + (self._bad - floor) * kept + bad
        self._items = FIRST_ITEMS + (self._items - FIRST_ITEMS) * kept + bad + good


class PieceSizes:
    """The sizes for one micro-batch: from the `share` of bad items before it, and what it has shown itself so far.

    `item_price` is what an item adds to the price of a run, whose fixed part is 1. Whoever runs the pieces counts the
    `bad` items, each of which has failed alone, and the `good`, which passed.
    """

    def __init__(self, share: float = SHARE_AT_FIRST, item_price: float = 0.0) -> None:
        self._share = share
        self._item_price = item_price
        self.bad = 0
        self.good = 0

    def next(self, undecided: int, failing: int) -> int:
        """How many of the `undecided` items to run next, the first of which are known to fail together: so many, or 0
        where that is known of none. Of those that fail together at most half are run."""
        known = failing or undecided
        if known == 1:
            return 1
        share = (KNOWN_ITEMS * self._share + self.bad) / (KNOWN_ITEMS + self.bad + self.good)
        if not failing and share <= SHARE_AT_FIRST:
            return undecided
        group = -(-known // MOST_PLANNED)
        groups = max(2, known // group)
        plan = _plan_for(1 - (1 - min(share, 0.5)) ** group, self._item_price * group, groups)
        if failing:
            return min(group * int(plan.failing[groups]), known // 2)
        size = int(plan.undecided[groups])
        return undecided if size == groups else group * size


class _Plan:
    """The best sizes for items of which each is bad with probability `share`.

    `failing[n]` is how many to run of n that are known to fail together, `undecided[n]` of n of which nothing is known.
    """

    def __init__(self, share: float, item_price: float, most: int) -> None:
        sizes = np.arange(most + 1)
        self._run_price = 1 + item_price * sizes
        self._pass = np.exp(sizes * np.log1p(-share))
        self._fail = -np.expm1(sizes * np.log1p(-share))
        self.failing = np.ones(most + 1, dtype=np.int64)
        self.undecided = np.ones(most + 1, dtype=np.int64)
        # Both without the run that failed, which has been paid: one that ran alone costs nothing more.
        to_first = self._plan_failing(most)
        self._plan_undecided(most, to_first, share * self._pass[:-1])

    def _plan_failing(self, most: int) -> Array:
        """The price from a failed run of n items to the first bad one: it is found, and has run alone."""
        after_run = np.zeros(most + 1)
        unrun = np.zeros(most + 1)
        unrun[1] = self._run_price[1]
        for n in range(2, most + 1):
            sizes = np.arange(1, n // 2 + 1)
            in_these = self._fail[sizes] / self._fail[n]
            prices = self._run_price[sizes] + in_these * after_run[sizes] + (1 - in_these) * unrun[n - sizes]
            best = int(np.argmin(prices))
            self.failing[n] = best + 1
            after_run[n] = unrun[n] = prices[best]
        return after_run

    def _plan_undecided(self, most: int, to_first: Array, first_at: Array) -> None:
        """`first_at[i]` is the probability that the first bad item is that with index i. Once it is found, nothing is
        known of those behind it."""
        price = np.zeros(most + 1)
        for n in range(1, most + 1):
            sizes = np.arange(1, n + 1)
            after_first = np.cumsum(first_at[:n] * price[:n][::-1])
            prices = (
                self._run_price[sizes]
                + self._pass[sizes] * price[n - sizes]
                + self._fail[sizes] * to_first[sizes]
                + after_first
            )
            best = int(np.argmin(prices))
            self.undecided[n] = best + 1
            price[n] = prices[best]


def _plan_for(share: float, item_price: float, items: int) -> _Plan:
    """A plan for about this share and price, and for this many items or more: there are few of them."""
    share_step = round(math.log(share, SHARE_STEP))
    price_step = round(math.log2(item_price)) if item_price > 2**-10 else None
    return _plan(share_step, price_step, 1 << (items - 1).bit_length())


@lru_cache(maxsize=128)
def _plan(share_step: int, price_step: int | None, most: int) -> _Plan:
    return _Plan(min(SHARE_STEP**share_step, 0.999), 0.0 if price_step is None else 2.0**price_step, most)
