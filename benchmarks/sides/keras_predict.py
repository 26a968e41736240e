"""Keras' `predict()` of the same network, one image at a time."""

from collections.abc import Callable


def prepare(args: dict) -> Callable[[], dict]:
    """Builds the network `name` and `count` images."""
    import numpy as np

    from benchmarks.sides import keras_networks

    network = keras_networks.load()[args["name"]]
    images = np.random.default_rng(0).integers(
        0, 256, (args["count"], 224, 224, 3), np.uint8
    )

    def run() -> dict:
        for image in images:
            network.predict(image[None], verbose=0)
        return {"units": len(images)}

    return run
