"""`--fail_under`: figures that a model must reach."""

import math

from emorec.errors import EmorecError, UsageError

# Of `emorec.evaluation.metrics.Metrics`: shares, of which more is better.
METRICS = ("map", "acc", "macro_f1", "uar", "ranking_map")


def parse(texts: list[str]) -> dict[str, float]:
    """Returns metric -> least share.

    Args:
        texts: `METRIC=SHARE` each; of a metric that is named twice, the last.

    Raises:
        UsageError: One is not of this form.
    """
    found = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            least = float(value)
        except ValueError:
            least = math.nan
        if name not in METRICS or not 0 <= least <= 1:
            raise UsageError(
                f"`--fail_under` must be METRIC=SHARE, one of "
                f"{', '.join(METRICS)} and a share from 0 to 1 (40 % is .4). "
                f"Received: {text!r}"
            )
        found[name] = least
    return found


def check(wanted: dict[str, float], metrics, folder: str) -> None:
    """Fails where a figure is below what is wanted.

    Args:
        wanted: What `parse` gave.
        metrics: `emorec.evaluation.metrics.Metrics`.
        folder: Where the results lie, for the message.

    Raises:
        EmorecError: With all of them.
    """
    under = [
        f"{name} is {getattr(metrics, name):.4f}, below {least:g}"
        for name, least in wanted.items()
        if getattr(metrics, name) < least
    ]
    if under:
        raise EmorecError(
            f"{'; '.join(under)} (--fail_under); the results are in {folder}"
        )
