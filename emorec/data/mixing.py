"""Several sources in one training: how often an epoch sees each.

A weight of 2.5 gives each record of a source two or three times an epoch, by
a draw that is a function of seed, epoch and the record's place; 0 leaves the
source out.
"""

import math
from collections.abc import Iterable

import tensorflow as tf

from emorec.data import keys
from emorec.errors import ConfigError

# A larger one is a slip of the pen: an epoch would hardly end.
MAX_WEIGHT = 100.0
_FORM = "config `train.source_weights` must be name=weight,name=weight"


def parse(weights: str) -> dict[str, float]:
    """Returns source -> weight of `train.source_weights`.

    Raises:
        ConfigError: It has another form, or a weight is out of bounds.
    """
    found = {}
    for part in filter(None, map(str.strip, weights.split(","))):
        name, equals, text = part.rpartition("=")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (equals and name.strip() and 0 <= value <= MAX_WEIGHT):
            raise ConfigError(
                f"{_FORM}, each weight from 0 to {MAX_WEIGHT:g}. "
                f"Received: {part!r}"
            )
        if name.strip() in found:
            raise ConfigError(f"{_FORM}. Received: {name.strip()!r} twice")
        found[name.strip()] = value
    return found


def check(weights: str, sources: Iterable[str]) -> None:
    """Refuses weights of sources that a data set does not have.

    Raises:
        ConfigError: With the sources that there are.
    """
    sources = sorted(sources)
    for name in parse(weights):
        if name not in sources:
            raise ConfigError(
                "config `train.source_weights` names a source that the data "
                f"set does not have. Received: {name!r}; there is "
                f"{', '.join(map(repr, sources))}"
            )


def weigh(
    data: tf.data.Dataset, weights: str, seed: int, epoch: int
) -> tf.data.Dataset:
    """Repeats or drops records by the weight of their source.

    Args:
        data: string [S] a clip, the records of features.
        weights: `train.source_weights`.
        seed: Of the run.
        epoch: Its number.
    """
    values = parse(weights)
    if not values:
        return data
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(
            list(values), list(values.values()), tf.string, tf.float32
        ),
        1.0,
    )
    base = tf.random.experimental.stateless_fold_in(
        tf.constant([seed, 1], tf.int32), epoch
    )

    def repeated(index, data):
        spec = {keys.CLIP_SOURCE: tf.io.FixedLenFeature((), tf.string)}
        name = tf.io.parse_single_example(data[0], spec)[keys.CLIP_SOURCE]
        weight = table.lookup(name)
        drawn = tf.random.stateless_uniform(
            (), tf.random.experimental.stateless_fold_in(base, index)
        )
        # floor(w + u) is w on average.
        times = tf.cast(tf.floor(weight + drawn), tf.int64)
        return tf.data.Dataset.from_tensors(data).repeat(times)

    return data.enumerate().flat_map(repeated)
