"""The face detector's networks as graphs that are kept between commands."""

import importlib.metadata

from emorec.features import graph_cache
from emorec.video.engine import NETWORKS, Engine


def engine() -> Engine:
    """Returns TensorFlow's engine for `emorec.video.faces.FaceDetector`.

    It needs neither Keras nor `mtcnn` where its graphs are kept.

    Raises:
        WeightsError: The weights of `mtcnn` cannot be loaded.
    """
    from emorec.features import frozen
    from emorec.video.tensorflow_engine import TensorFlowEngine

    graphs = graph_cache.get(_key(), NETWORKS, _make)
    return TensorFlowEngine(
        {name: frozen.runner(graph) for name, graph in graphs.items()}
    )


def is_kept() -> bool:
    """Says whether `engine` needs no Keras; imports no TensorFlow."""
    return graph_cache.has(_key(), NETWORKS)


def _key() -> str:
    return graph_cache.key_of(["mtcnn", importlib.metadata.version("mtcnn")])


def _make():
    from emorec.features import frozen
    from emorec.video import tensorflow_engine

    return {
        name: frozen.graph_of_function(function, tensorflow_engine.INPUTS[name])
        for name, function in tensorflow_engine.functions().items()
    }
