"""The face detector's networks on TensorFlow."""

import numpy as np
import tensorflow as tf

from emorec.video.engine import MEAN_PIXEL
from emorec.video.mtcnn_nets import MtcnnNets


class TensorFlowEngine:
    """The package's networks; see `emorec.video.engine.Engine`.

    Each of the three graphs is traced once, for any size of frame and batch.

    Attributes:
        nets: The three networks as plain functions.
        graphs: Them as traced, by name: `pnet`, `rnet` and `onet`.

    Raises:
        WeightsError: The weights of `mtcnn` cannot be loaded.
    """

    def __init__(self):
        self.nets = MtcnnNets()
        self.graphs = {
            "pnet": _graph(
                self._proposals,
                tf.TensorSpec([None, None, None, 3], tf.float32),
                tf.TensorSpec([], tf.float32),
            ),
            "rnet": _graph(
                self.nets.rnet, tf.TensorSpec([None, 24, 24, 3], tf.float32)
            ),
            "onet": _graph(
                self.nets.onet, tf.TensorSpec([None, 48, 48, 3], tf.float32)
            ),
        }

    def _proposals(self, pixels, threshold):
        offsets, logits = self.nets.pnet(pixels)
        cells = tf.where(logits > threshold)
        return (
            cells,
            tf.gather_nd(offsets, cells),
            tf.gather_nd(logits, cells),
        )

    def _run(self, name, *inputs):
        return tuple(x.numpy() for x in self.graphs[name](*inputs))

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


def _graph(function, *specs):
    return tf.function(function, input_signature=specs)
