"""TensorFlow's import, without what an answer does not need."""

import contextlib
import gc
import importlib
import importlib.util
import sys
import types
from collections.abc import Iterator

# What TensorFlow and Keras import where it is installed: conversion from JAX,
# Google's cloud, wrappers for scikit-learn, plots and tables.
UNUSED = (
    "IPython",
    "googleapiclient",
    "jax",
    "matplotlib",
    "oauth2client",
    "pandas",
    "sklearn",
)


def load(keras: bool = True) -> None:
    """Imports TensorFlow and Keras, unless TensorFlow is there already.

    Where all that TFX and the tests want is installed, the packages left out
    are more than half of the import: 3.7 s became 1.9 s, and 1.5 s without
    collecting garbage on the way. What is there now stays until the end of
    the process, so no later collection looks at it.

    For commands that answer, before they start threads: Keras' own wrappers
    and plots lack those packages until the process ends. Importing them
    afterwards works as ever.

    Args:
        keras: False leaves Keras out too, which graphs do without.
    """
    if "tensorflow" in sys.modules:
        return
    with _little(UNUSED if keras else (*UNUSED, "keras")):
        importlib.import_module("tensorflow")
        if keras:
            importlib.import_module("keras")


# What `load_sessions` has imported.
_part: types.SimpleNamespace | None = None


def load_sessions() -> None:
    """Imports of TensorFlow what `sessions` gives, unless it is there already.

    That takes .5 s instead of 1.5 s: without what builds and trains networks.
    It is no public interface of TensorFlow's, so where it is not found all of
    TensorFlow is imported. Otherwise as `load`; a later `import tensorflow`
    works as ever.
    """
    global _part
    if _part is not None or "tensorflow" in sys.modules:
        return
    spec = importlib.util.find_spec("tensorflow")
    try:
        with _little(UNUSED):
            # The package without its `__init__`, which imports all.
            sys.modules["tensorflow"] = importlib.util.module_from_spec(spec)
            try:
                _part = _of_inner_modules()
            finally:
                del sys.modules["tensorflow"]
    except (ImportError, AttributeError):
        load(keras=False)


def sessions() -> types.SimpleNamespace:
    """Returns what runs graphs, of all of TensorFlow or of a part.

    Returns:
        `Graph`, `GraphDef`, `Session`, `ConfigProto` and `import_graph_def` of
        TensorFlow, and `threads()`, this process's for one operation, 0 where
        TensorFlow decides.
    """
    if _part is not None and "tensorflow" not in sys.modules:
        return _part
    import tensorflow as tf

    return types.SimpleNamespace(
        Graph=tf.Graph,
        GraphDef=tf.compat.v1.GraphDef,
        Session=tf.compat.v1.Session,
        ConfigProto=tf.compat.v1.ConfigProto,
        import_graph_def=tf.graph_util.import_graph_def,
        threads=tf.config.threading.get_intra_op_parallelism_threads,
    )


def _of_inner_modules() -> types.SimpleNamespace:
    from tensorflow.core.framework import graph_pb2
    from tensorflow.core.protobuf import config_pb2
    from tensorflow.python.client import session
    from tensorflow.python.framework import importer, ops

    # As `__init__` does: what runs first decides it for the process, and Keras
    # could not train any more.
    ops.enable_eager_execution()
    return types.SimpleNamespace(
        Graph=ops.Graph,
        GraphDef=graph_pb2.GraphDef,
        Session=session.Session,
        ConfigProto=config_pb2.ConfigProto,
        import_graph_def=importer.import_graph_def,
        threads=lambda: 0,
    )


@contextlib.contextmanager
def _little(unused: tuple[str, ...]) -> Iterator[None]:
    """Hides packages, and collects no garbage; freezes what came."""
    hidden = [name for name in unused if name not in sys.modules]
    # What the import system takes for "not installed".
    sys.modules.update(dict.fromkeys(hidden))
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
        if collecting:
            gc.enable()
    gc.freeze()
