"""Results as pandas tables; see `emorec.results`."""

from collections.abc import Sequence

import numpy as np

from emorec.errors import EmorecError
from emorec.evaluation import smoothing

# So that a column keeps its type where some rows have no value.
_TYPES = {
    "track": "Int64",
    "calibrated": "boolean",
    "uncertain": "boolean",
    "start": "float64",
    "end": "float64",
    "coverage": "float64",
    "confidence": "float64",
}


def _pandas():
    try:
        import pandas
    except ImportError as e:
        raise EmorecError(
            f"tables need pandas ({e}); pip install 'emorec[tables]'"
        ) from e
    return pandas


def results(found: Sequence):
    """Returns a `DataFrame` of a row a result; see `Result.to_row`.

    An empty list gives an empty one.
    """
    table = _pandas().DataFrame([r.to_row() for r in found])
    types = {k: v for k, v in _TYPES.items() if k in table}
    types |= {k: "float64" for k in table if k.startswith("probability_")}
    return table.astype(types)


def frames(found: Sequence, seconds: float = 0.0):
    """Returns a `DataFrame` of a row a frame with a face and person.

    Args:
        found: Results, of one model.
        seconds: The probabilities' smoothing; see `smoothing.smooth`.

    Returns:
        Columns `video`, `track`, `time` (s), `x0`, `y0`, `x1`, `y1` (pixels of
        the frame), `attended` (mean attention to the frame's surroundings, NaN
        without), `label` (of the probabilities beside it),
        `probability_<label>`, `smooth_seconds`.
    """
    pandas = _pandas()
    smoothing.check(seconds)
    tables = [_frames(pandas, c) for c in smoothing.curves(found, seconds)]
    if not tables:
        return pandas.DataFrame(
            columns=["video", "track", "time", *"x0 y0 x1 y1".split()]
        )
    return pandas.concat(tables, ignore_index=True)


def _frames(pandas, curve):
    names = np.array(curve.labels, object)
    return pandas.DataFrame(
        {
            "video": curve.video,
            "track": curve.track,
            "time": curve.times.round(3),
            **{
                name: curve.boxes[:, i].astype(np.float64).round(1)
                for i, name in enumerate(("x0", "y0", "x1", "y1"))
            },
            "attended": curve.attended,
            "label": names[curve.probabilities.argmax(1)],
            **{
                f"probability_{name}": curve.probabilities[:, i]
                for i, name in enumerate(curve.labels)
            },
            "smooth_seconds": curve.seconds,
        }
    )
