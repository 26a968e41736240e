"""Files of features: what they hold, beside which files they are read."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class FeatureFiles:
    """Records of features of one split.

    A network that reads several inputs is given several of these, whose
    records are those of the same clips in the same order.

    Attributes:
        holds: Input's name -> shape of a step, as `face_maps` -> (h, w, C);
            empty where only labels and times are read.
        files: The TFRecord files, in the order of the shards.
    """

    holds: dict[str, tuple[int, ...]]
    files: tuple[str, ...]


def shapes_of(sources) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of all that several `FeatureFiles` hold."""
    return {n: s for source in sources for n, s in source.holds.items()}
