"""The face detector's networks on TensorFlow.

Nothing here imports TensorFlow but what makes the networks.
"""

from collections.abc import Callable

import numpy as np

from emorec.video.engine import MEAN_PIXEL

_CROP = {
    "frames": ((None, None, None, 3), "uint8"),
    "corners": ((None, 4), "float32"),
    "index": ((None,), "int32"),
}
# Inputs (shape, dtype) of the networks as the engine runs them.
INPUTS = {
    "pnet": {
        "pixels": ((None, None, None, 3), "float32"),
        "threshold": ((), "float32"),
    },
    "rnet": {"pixels": ((None, 24, 24, 3), "float32")},
    "onet": {"pixels": ((None, 48, 48, 3), "float32")},
    # Of each size: TensorFlow complains of one that is not a constant.
    "crop24": _CROP,
    "crop48": _CROP,
}
ANSWERS = {
    "pnet": ("cells", "offsets", "logits"),
    "rnet": ("offsets", "logits"),
    "onet": ("offsets", "logits"),
    "crop24": ("crops",),
    "crop48": ("crops",),
}


def functions() -> dict[str, Callable[..., dict]]:
    """Returns what is run as plain functions of tensors, by name.

    Each takes its `INPUTS` and gives its `ANSWERS`.

    Raises:
        WeightsError: The weights of `mtcnn` cannot be loaded.
    """
    import tensorflow as tf

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

    def crop(size):
        # No padding to a few batch sizes: measured, it gains nothing.
        return lambda **inputs: {
            "crops": tf.image.crop_and_resize(
                inputs["frames"],
                inputs["corners"],
                inputs["index"],
                [size, size],
                extrapolation_value=MEAN_PIXEL,
            )
        }

    return {
        "pnet": pnet,
        "rnet": judge("rnet"),
        "onet": judge("onet"),
        "crop24": crop(24),
        "crop48": crop(48),
    }


class TensorFlowEngine:
    """The package's networks; see `emorec.video.engine.Engine`.

    Args:
        graphs: What runs each of `INPUTS`, by name to `ANSWERS` by name.
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
        return frames

    def crop(self, loaded, corners, index, size):
        return self._run(f"crop{size}", loaded, corners, index)[0]

    def rnet(self, crops):
        return self._run("rnet", crops)

    def onet(self, crops):
        return self._run("onet", crops)


def _traced(function, inputs):
    import tensorflow as tf

    specs = {
        name: tf.TensorSpec(shape, dtype)
        for name, (shape, dtype) in inputs.items()
    }
    return tf.function(
        lambda given: function(**given),
        input_signature=[specs],
        autograph=False,
    )
