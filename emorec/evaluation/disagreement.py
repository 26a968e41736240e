"""How much raters disagree, per emotion and condition (paper, section III-A).

1. The variance over the raters of one item, for one emotion and under one
   condition. With `ddof` 1 it is the unbiased sample variance (sum of squares
   divided by raters - 1), so that the number of raters does not shift it;
   with 0 the population variance. The paper does not say which it used.
2. The disagreement: the mean of these variances over items.
3. Its interval: items are drawn with replacement, as many as there are, and
   the 2.5th and 97.5th percentiles of the redrawn means are taken. The same
   seed is used for each emotion, so emotions of the same items are redrawn
   together.
4. Between two conditions: the mean of the differences over the items that
   have both, its interval likewise, and a sign-flip permutation test. If the
   conditions do not matter, each item's difference could as well have the
   other sign; p is the share of sign patterns whose mean is at least as far
   from 0 as the one observed. (It tests the reported mean itself. A Wilcoxon
   test would rank the differences, of which many are tied or 0.)
5. p is corrected for the number of emotions by Holm's method.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from emorec.errors import EmorecError, UsageError
from emorec.evaluation.ratings import Ratings

LEVEL = 0.95
VARIANCES = {
    1: "unbiased sample variance (n - 1)",
    0: "population variance (n)",
}
# Elements of one block of redrawn items: 32 MB as float64.
_BLOCK = 4_000_000
_NAMED = 3


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the study is computed.

    Attributes:
        ddof: What is subtracted from the number of raters, 0 or 1.
        min_raters: The fewest raters that an item may have, at least 2.
        bootstrap: How often items are redrawn for an interval.
        permutations: How many sign patterns are drawn for a test; with few
            items all patterns are tried instead.
        seed: Of both draws.

    Raises:
        UsageError: One is out of its range.
    """

    ddof: int = 1
    min_raters: int = 5
    bootstrap: int = 2000
    permutations: int = 9999
    seed: int = 0

    def __post_init__(self):
        for name, low, high in (
            ("ddof", 0, 1),
            ("min_raters", 2, 1_000_000),
            ("bootstrap", 100, 1_000_000),
            ("permutations", 100, 1_000_000),
            ("seed", 0, 2**63 - 1),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise UsageError(
                    f"`{name}` must be {low} to {high}. Received: {value}"
                )


@dataclasses.dataclass(frozen=True, eq=False)
class Variances:
    """The variance over raters, for each of G (condition, emotion, item).

    Attributes:
        condition: int64 [G], a position in `Ratings.conditions`; sorted by
            it, then by emotion, then by item.
        emotion: int64 [G], a position in `Ratings.emotions`.
        item: int64 [G], a position in `Ratings.items`.
        raters: int64 [G].
        variance: float64 [G].
    """

    condition: np.ndarray
    emotion: np.ndarray
    item: np.ndarray
    raters: np.ndarray
    variance: np.ndarray

    def of(self, condition: int, emotion: int) -> np.ndarray:
        """Returns the places of one condition's and emotion's items."""
        return np.flatnonzero(
            (self.condition == condition) & (self.emotion == emotion)
        )


@dataclasses.dataclass(frozen=True)
class Cell:
    """The disagreement on one emotion under one condition.

    `low` and `high` are NaN where there is but one item, and `mean` as well
    where there is none; `raters_min` and `raters_max` are then 0.
    """

    emotion: str
    condition: str
    items: int
    raters_min: int
    raters_max: int
    mean: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The first condition less the second, over items that have both.

    `difference` and `p` are NaN where there is no such item, `low` and
    `high` where there is but one.
    """

    emotion: str
    first: str
    second: str
    items: int
    difference: float
    low: float
    high: float
    p: float
    p_holm: float


@dataclasses.dataclass(frozen=True)
class Study:
    """The result of `study`.

    Attributes:
        settings: How it was computed.
        cells: By emotion, then by condition.
        comparisons: By emotion; empty unless there are two conditions.
    """

    settings: Settings
    cells: tuple[Cell, ...]
    comparisons: tuple[Comparison, ...]


def study(ratings: Ratings, settings: Settings | None = None) -> Study:
    """Computes the disagreement, and compares two conditions if it has two.

    Raises:
        EmorecError: An item has fewer raters than `settings.min_raters`.
    """
    settings = settings or Settings()
    found = variances(ratings, settings.ddof)
    _require_raters(ratings, found, settings.min_raters)
    cells = tuple(
        _cell(ratings, found, c, e, settings)
        for e in range(len(ratings.emotions))
        for c in range(len(ratings.conditions))
    )
    comparisons = ()
    if len(ratings.conditions) == 2:
        comparisons = _compare(ratings, found, settings)
    return Study(settings, cells, comparisons)


def variances(ratings: Ratings, ddof: int = 1) -> Variances:
    """Returns the variance over raters of whatever was rated.

    It is NaN where there are not more than `ddof` raters.
    """
    items, emotions = len(ratings.items), len(ratings.emotions)
    key = ratings.condition.astype(np.int64) * emotions + ratings.emotion
    key, group, raters = np.unique(
        key * items + ratings.item, return_inverse=True, return_counts=True
    )
    # Two passes: the mean first, or a large mean would eat the digits.
    mean = np.bincount(group, ratings.value) / raters
    squares = np.bincount(group, (ratings.value - mean[group]) ** 2)
    divisor = np.where(raters > ddof, raters - ddof, np.nan)
    return Variances(
        condition=key // items // emotions,
        emotion=key // items % emotions,
        item=key % items,
        raters=raters,
        variance=squares / divisor,
    )


def interval(values: np.ndarray, draws: int, seed: int) -> tuple[float, float]:
    """Returns the percentile interval of the mean, by redrawing items.

    Args:
        values: float64 [n], one value an item.
        draws: How often n items are redrawn.
        seed: Of the draws.

    Returns:
        The bounds that hold `LEVEL` of the redrawn means; NaN for n < 2, as
        one item says nothing about others.
    """
    n = len(values)
    if n < 2:
        return math.nan, math.nan
    random = np.random.default_rng(seed)
    means = np.empty(draws)
    step = max(1, _BLOCK // n)
    for start in range(0, draws, step):
        size = min(step, draws - start)
        chosen = random.integers(0, n, (size, n), dtype=np.int32)
        means[start : start + size] = values[chosen].mean(axis=1)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(means, (tail, 1 - tail))
    return float(low), float(high)


def sign_flip_p(differences: np.ndarray, draws: int, seed: int) -> float:
    """Returns the two-sided p of a sign-flip permutation test of the mean.

    Args:
        differences: float64 [n], one paired difference an item.
        draws: How many sign patterns are drawn. Where 2^n is no more than
            that, every pattern is tried once and p is exact. Else the
            pattern observed counts as one of the draws, so p is never 0.
        seed: Of the draws.

    Returns:
        p, 0 to 1; NaN for n = 0.
    """
    # A difference of 0 has no sign to flip.
    values = differences[differences != 0]
    if not len(values):
        return 1.0 if len(differences) else math.nan
    total = abs(values.sum())
    # Sums of the same numbers in another order may differ by rounding.
    least = total - 1e-9 * np.abs(values).sum()
    n = len(values)
    if 2**n <= draws:
        patterns = np.arange(2**n)[:, None] >> np.arange(n) & 1
        sums = (1 - 2 * patterns) @ values
        return float(np.mean(np.abs(sums) >= least))
    random = np.random.default_rng(seed)
    far = 0
    step = max(1, _BLOCK // n)
    for start in range(0, draws, step):
        size = min(step, draws - start)
        bits = np.frombuffer(random.bytes(size * ((n + 7) // 8)), np.uint8)
        bits = np.unpackbits(bits.reshape(size, -1), axis=1, count=n)
        sums = values.sum() - 2 * (bits.astype(np.float64) @ values)
        far += int(np.count_nonzero(np.abs(sums) >= least))
    return (1 + far) / (1 + draws)


def holm(p: Sequence[float]) -> np.ndarray:
    """Returns p corrected by Holm's method; NaN stays and does not count."""
    p = np.asarray(p, np.float64)
    corrected = np.full(len(p), np.nan)
    order = [i for i in np.argsort(p, kind="stable") if not np.isnan(p[i])]
    least = 0.0
    for rank, i in enumerate(order):
        least = max(least, (len(order) - rank) * p[i])
        corrected[i] = min(1.0, least)
    return corrected


def _require_raters(ratings, found, least):
    few = np.flatnonzero(found.raters < least)
    if not len(few):
        return
    named = "; ".join(
        f"item {ratings.items[found.item[i]]!r}, condition "
        f"{ratings.conditions[found.condition[i]]!r}, emotion "
        f"{ratings.emotions[found.emotion[i]]!r} has {found.raters[i]}"
        for i in few[:_NAMED]
    )
    more = f"; and {len(few) - _NAMED} more" if len(few) > _NAMED else ""
    raise EmorecError(
        f"{ratings.path}: fewer than {least} raters: {named}{more}; remove "
        "these items, choose other --conditions or lower --min_raters"
    )


def _cell(ratings, found, condition, emotion, settings) -> Cell:
    places = found.of(condition, emotion)
    values, raters = found.variance[places], found.raters[places]
    low, high = interval(values, settings.bootstrap, settings.seed)
    return Cell(
        emotion=ratings.emotions[emotion],
        condition=ratings.conditions[condition],
        items=len(places),
        raters_min=int(raters.min(initial=2**31)) if len(places) else 0,
        raters_max=int(raters.max(initial=0)),
        mean=float(values.mean()) if len(places) else math.nan,
        low=low,
        high=high,
    )


def _compare(ratings, found, settings) -> tuple[Comparison, ...]:
    rows = []
    for emotion in range(len(ratings.emotions)):
        first, second = found.of(0, emotion), found.of(1, emotion)
        _, a, b = np.intersect1d(
            found.item[first], found.item[second], True, True
        )
        values = found.variance[first[a]] - found.variance[second[b]]
        low, high = interval(values, settings.bootstrap, settings.seed)
        p = sign_flip_p(values, settings.permutations, settings.seed)
        mean = float(values.mean()) if len(values) else math.nan
        rows.append((len(values), mean, low, high, p))
    corrected = holm([row[-1] for row in rows])
    return tuple(
        Comparison(name, *ratings.conditions, *row, float(p_holm))
        for name, row, p_holm in zip(ratings.emotions, rows, corrected)
    )
