"""TensorFlow's import, without what an answer does not need."""

import contextlib
import gc
import importlib
import sys
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
