"""The face detector's networks on TensorFlow."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from emorec.video.engine import MEAN_PIXEL

# Inputs (shape, dtype) of the networks as the engine runs them.
INPUTS = {
    "pnet": {
        "pixels": ((None, None, None, 3), "float32"),
        "threshold": ((), "float32"),
    },
    "rnet": {"pixels": ((None, 24, 24, 3), "float32")},
    "onet": {"pixels": ((None, 48, 48, 3), "float32")},
}
ANSWERS = {
    "pnet": ("cells", "offsets", "logits"),
    "rnet": ("offsets", "logits"),
    "onet": ("offsets", "logits"),
}


def functions() -> dict[str, Callable[..., dict[str, tf.Tensor]]]:
    """Returns the networks as plain functions of `INPUTS`, by name.

    Raises:
        WeightsError: The weights of `mtcnn` cannot be loaded.
    """
    # The package brings Keras, which the engine itself does without.
    from emorec.video.mtcnn_nets import MtcnnNets

    nets = MtcnnNets()

    def pnet(pixels, threshold):
        offsets, logits = nets.pnet(pixels)
        cells = tf.where(logits > threshold)
        kept = (tf.gather_nd(x, cells) for x in (offsets, logits))
        return dict(zip(ANSWERS["pnet"], (cells, *kept)))

    def judge(name):
        network = getattr(nets, name)
        return lambda pixels: dict(zip(ANSWERS[name], network(pixels)))

    return {"pnet": pnet, "rnet": judge("rnet"), "onet": judge("onet")}


class TensorFlowEngine:
    """The package's networks; see `emorec.video.engine.Engine`.

    Args:
        graphs: What runs each network: `INPUTS` by name to `ANSWERS` by name.
            By default they are made, each traced once, for any size of frame
            and batch.

    Attributes:
        graphs: The same.

    Raises:
        WeightsError: The weights of `mtcnn` cannot be loaded.
    """

    def __init__(self, graphs: dict[str, Callable[[dict], dict]] | None = None):
        self.graphs = graphs or {
            name: _traced(function, INPUTS[name])
            for name, function in functions().items()
        }

    def _run(self, name, *inputs):
        given = dict(zip(INPUTS[name], map(np.asarray, inputs)))
        answers = self.graphs[name](given)
        return tuple(np.asarray(answers[key]) for key in ANSWERS[name])

    def pnet(self, pixels, threshold):
        return self._run("pnet", pixels, np.float32(threshold))

    def load(self, frames):
        return tf.constant(frames)

    def crop(self, loaded, corners, index, size):
        # No padding to a few batch sizes: measured, it gains nothing.
        return tf.image.crop_and_resize(
            loaded,
            corners,
            index,
            [size, size],
            extrapolation_value=MEAN_PIXEL,
        )

    def rnet(self, crops):
        return self._run("rnet", crops)

    def onet(self, crops):
        return self._run("onet", crops)


def _traced(function, inputs):
    specs = {
        name: tf.TensorSpec(shape, dtype)
        for name, (shape, dtype) in inputs.items()
    }
    return tf.function(
        lambda given: function(**given),
        input_signature=[specs],
        autograph=False,
    )
