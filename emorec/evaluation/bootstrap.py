"""How far the figures of an evaluation are to be trusted.

Intervals: clips are drawn with replacement, as many as there are, the figures
are computed anew, and the 2.5th and 97.5th percentiles of many such draws are
taken (percentile bootstrap). Two models are compared on the same drawn clips.

MAP, accuracy, macro F1 and UAR depend on nothing but how many clips have which
label and answer. So not clips are drawn but those counts, from a multinomial
distribution: the very same thing, and quick for any number of clips.

Clips are drawn as if they were independent. Several clips of one person are
not: with few persons the true intervals are wider.
"""

import math

import numpy as np

LEVEL = 0.95
DRAWS = 2000
# What is computed of counts alone; fields of `metrics.Metrics`.
COUNTED = ("map", "acc", "macro_f1", "uar")
HOW = (
    f"percentile bootstrap over clips, {DRAWS} draws; clips count as "
    "independent"
)
# Counts of one block of draws: 32 MB.
_BLOCK = 4_000_000


def intervals(
    labels: np.ndarray, predicted: np.ndarray, k: int, seed: int = 0
) -> dict[str, tuple[float, float] | None]:
    """Returns the interval of each metric of `COUNTED`.

    Args:
        labels: int [N], true class ids, 0 to K - 1.
        predicted: int [N], class ids; K where there is no answer.
        k: Classes.
        seed: Of the draws.

    Returns:
        Metric -> (low, high), shares; None for N < 2, as one clip says
        nothing about others, and where all draws are alike: three wrong
        answers of three do not say that there never is a right one.
    """
    drawn = _figures(np.stack([labels, predicted], axis=1), k, seed)
    found = _percentiles(drawn[0], len(labels))
    return {
        name: ends if ends is None or ends[0] < ends[1] else None
        for name, ends in found.items()
    }


def differences(
    labels: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    k: int,
    seed: int = 0,
) -> dict[str, tuple[float, float] | None]:
    """Returns the interval of each metric's difference, second less first.

    Args:
        labels: int [N], true class ids, 0 to K - 1.
        first: int [N], one model's answers; K where there is none.
        second: int [N], the other's, for the same clips.
        k: Classes.
        seed: Of the draws.

    Returns:
        As `intervals`, -1 to 1.
    """
    drawn = _figures(np.stack([labels, first, second], axis=1), k, seed)
    found = {name: drawn[1][name] - drawn[0][name] for name in COUNTED}
    return _percentiles(found, len(labels))


def mcnemar(only_first: int, only_second: int) -> float:
    """Returns the two-sided p of McNemar's test, exact (binomial).

    If two models were equally good, a clip that only one of them gets right
    would be the one's or the other's with the same chance.

    Args:
        only_first: Clips that only the first model gets right.
        only_second: Clips that only the second one gets right.
    """
    n = only_first + only_second
    few = min(only_first, only_second)
    # By logarithms: 2^n is beyond a float from 1024 clips on.
    tail = math.fsum(
        math.exp(
            math.lgamma(n + 1)
            - math.lgamma(i + 1)
            - math.lgamma(n - i + 1)
            - n * math.log(2)
        )
        for i in range(few + 1)
    )
    return min(1.0, 2 * tail)


def _figures(outcomes, k, seed) -> list[dict[str, np.ndarray]]:
    """Returns for each model metric -> f64 [DRAWS].

    Args:
        outcomes: int [N, 1 + models]: the label, then the answers.
        k: Classes.
        seed: Of the draws.
    """
    cells, counts = np.unique(outcomes, axis=0, return_counts=True)
    n = len(outcomes)
    random = np.random.default_rng(seed)
    made = [{name: [] for name in COUNTED} for _ in range(cells.shape[1] - 1)]
    step = max(1, _BLOCK // max(len(cells), k))
    for start in range(0, DRAWS, step):
        size = min(step, DRAWS - start)
        drawn = random.multinomial(n, counts / n, size)
        support = _sums(drawn, cells[:, 0], k)
        for values, answers in zip(made, cells[:, 1:].T):
            claims = _sums(drawn, answers, k + 1)[:, :k]
            right = np.where(answers == cells[:, 0], answers, k)
            hits = _sums(drawn, right, k + 1)[:, :k]
            for name, value in _measured(support, claims, hits).items():
                values[name].append(value)
    return [
        {name: np.concatenate(parts) for name, parts in values.items()}
        for values in made
    ]


def _sums(drawn, groups, count) -> np.ndarray:
    """Sums the cells [draws, cells] of each group, to [draws, count]."""
    order = np.argsort(groups, kind="stable")
    present, starts = np.unique(groups[order], return_index=True)
    made = np.zeros((len(drawn), count))
    made[:, present] = np.add.reduceat(drawn[:, order], starts, axis=1)
    return made


def _measured(support, claims, hits) -> dict[str, np.ndarray]:
    """The metrics of `COUNTED`, as `metrics.evaluate` defines them.

    Args:
        support: f64 [draws, K], clips of each class.
        claims: f64 [draws, K], answers that name it.
        hits: f64 [draws, K], right ones.
    """
    zero = np.zeros_like(hits)
    nothing = np.full_like(hits, np.nan)
    both = support + claims
    precision = np.divide(hits, claims, out=zero, where=claims > 0)
    recall = np.divide(hits, support, out=nothing.copy(), where=support > 0)
    f1 = np.divide(2 * hits, both, out=nothing, where=both > 0)
    return {
        "map": precision.mean(axis=1),
        "acc": hits.sum(axis=1) / support.sum(axis=1),
        "macro_f1": np.nanmean(f1, axis=1),
        "uar": np.nanmean(recall, axis=1),
    }


def _percentiles(drawn, n) -> dict[str, tuple[float, float] | None]:
    if n < 2:
        return dict.fromkeys(COUNTED)
    tail = (1 - LEVEL) / 2
    return {
        name: tuple(map(float, np.quantile(values, (tail, 1 - tail))))
        for name, values in drawn.items()
    }
