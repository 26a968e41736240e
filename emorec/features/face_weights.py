"""Initial weights of a face classifier, by name out of a Keras file.

Only arrays are read: what else a file says of a model, which could name code
to run, is not.
"""

import collections
import hashlib
import os
import pathlib
from collections.abc import Iterable, Iterator

import keras
from keras import layers

from emorec.errors import WeightsError
from emorec.features import layer_weights
from emorec.features.face_networks import FaceNetwork


def load(network: FaceNetwork, path: str | os.PathLike) -> dict:
    """Sets the weights from a file, by the names of the layers.

    Every layer but the head must be in the file with the same shapes. The
    head is taken where it fits, and stays random where the file has other
    classes or none. Nothing is set unless all fits.

    Args:
        network: What `build` made.
        path: A .keras file, or an .h5, .hdf5 or .weights.h5 of Keras 1 to 3.

    Returns:
        `{"initial": "file", "file", "sha256", "head": "file" or "random"}`.

    Raises:
        WeightsError: It is no such file, or one of another network.
    """
    path = pathlib.Path(path)
    with layer_weights.opened(path) as stored:
        values, head = _fitting(network, stored, path)
        with open(path, "rb") as f:
            digest = hashlib.file_digest(f, "sha256").hexdigest()
    for layer, arrays in values:
        layer.set_weights(arrays)
        if isinstance(layer, layers.Normalization):
            layer.finalize_state()  # It computes with copies.
    return {
        "initial": "file",
        "file": path.name,
        "sha256": digest,
        "head": head,
    }


def _fitting(network, stored, path):
    """Reads what fits: `([(layer, arrays)], "file" or "random")`."""
    places = {layer: layer.name for layer in _with_weights(network.model)}
    if any(
        name not in stored and name not in network.head
        for name in places.values()
    ):
        # Keras numbers layers without a name through a whole process, and
        # from 1 in old files: then their order says which is which.
        ranks = _ranks(places.values())
        by_rank = {rank: name for name, rank in _ranks(stored).items()}
        places = {k: by_rank.get(ranks[v], v) for k, v in places.items()}
    values, head = [], "file"
    for layer, place in places.items():
        shapes = [tuple(w.shape) for w in layer.weights]
        received = stored[place].shapes if place in stored else None
        if received == shapes:
            values.append((layer, stored[place].read()))
        elif layer.name in network.head:
            head = "random"
        else:
            raise WeightsError(
                f"{path}: must hold the layer {layer.name!r} of "
                f"{network.architecture} with the shapes {shapes}. "
                f"Received: {received or 'no such layer'}"
            )
    return values, head


def _ranks(names: Iterable[str]) -> dict[str, tuple[str, int]]:
    """Returns name -> what it is called less its number, and its place."""
    groups = collections.defaultdict(list)
    for name in names:
        stem, _, number = name.rpartition("_")
        if stem and number.isdecimal():
            groups[stem].append((int(number), name))
        else:
            groups[name].append((-1, name))
    return {
        name: (stem, rank)
        for stem, members in groups.items()
        for rank, (_, name) in enumerate(sorted(members))
    }


def _with_weights(model) -> Iterator[keras.layers.Layer]:
    """Yields the layers that own weights, those of nested models too."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _with_weights(layer)
        elif layer.weights:
            yield layer
