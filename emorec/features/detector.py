"""The face detector's networks as graphs that are kept between commands."""

import importlib.metadata

from emorec.features import graph_cache, lean_tensorflow, sessions
from emorec.video import tensorflow_engine
from emorec.video.engine import Engine
from emorec.video.tensorflow_engine import TensorFlowEngine

NAMES = tuple(tensorflow_engine.INPUTS)


def engine() -> Engine:
    """Returns TensorFlow's engine for `emorec.video.faces.FaceDetector`.

    It needs neither Keras nor `mtcnn` where its graphs are kept.

    Raises:
        WeightsError: The weights of `mtcnn` cannot be loaded.
    """
    graphs = graph_cache.get(_key(), NAMES, _make)
    # Of a crop it would only complain that it cannot tell what it costs.
    return TensorFlowEngine(
        {
            name: sessions.runner(graph, optimized="crop" not in name)
            for name, graph in graphs.items()
        }
    )


def is_kept() -> bool:
    """Says whether `engine` needs no Keras; imports no TensorFlow."""
    return graph_cache.has(_key(), NAMES)


def import_tensorflow() -> None:
    """Imports what a command needs that finds faces and writes records."""
    lean_tensorflow.load(keras=not is_kept())


def _key() -> str:
    return graph_cache.key_of(["mtcnn", importlib.metadata.version("mtcnn")])


def _make():
    from emorec.features import frozen

    return {
        name: frozen.graph_of_function(function, tensorflow_engine.INPUTS[name])
        for name, function in tensorflow_engine.functions().items()
    }
