"""The 2D-3D-CNN: spatio-temporal kernels over a face CNN's maps (section IV).

The paper gives no sizes; all here are ours (BUILD_NOTES.md).
"""

import keras
from keras import ops

from emorec.models.parts import PadEmpty, mask_input


@keras.saving.register_keras_serializable("emorec")
class CNN2D3D(keras.Model):
    """3D convolutions over a stream of 2D feature maps (2D-3D-CNN).

    1. A convolution of 1 x 1 x 1 brings the maps to `filters` channels.
    2. Two convolutions of 3 x 3 x 3 learn spatio-temporal kernels, with the
       places halved between them. No stride runs along time, and padded
       steps are zeros before every kernel, so padding changes nothing.
    3. Adaptive average pooling makes `bins` steps of the n valid ones: bin p
       is the mean of the steps floor(p n / bins) to ceil((p + 1) n / bins).
    4. A dense layer reads the bins in their order.

    Args:
        maps_shape: (h, w, C) of the maps.
        num_classes: K.
        filters: Channels of each convolution.
        bins: Steps after the pooling.
        dropout: Share of the pooled values dropped in training.

    Inputs, a dict:
        face_maps: float32 [B, T, h, w, C].
        mask: bool [B, T], a prefix mask. A row without a valid step gives
            finite logits that mean nothing; T may be 0.

    Outputs, a dict:
        logits: float32 [B, K].
    """

    def __init__(
        self,
        maps_shape,
        num_classes=8,
        filters=64,
        bins=4,
        dropout=0.0,
        **kwargs,
    ):
        # === Layers ===
        reduce = _conv(filters, 1, "reduce")
        convs = [_conv(filters, 3, f"conv3d_{i + 1}") for i in range(2)]
        halve = keras.layers.MaxPooling3D(
            (1, 2, 2), padding="same", name="halve"
        )
        clear = ClearPadding(name="clear_padding")
        pool = AdaptiveTimePooling(bins, name="adaptive_pooling")
        drop = keras.layers.Dropout(dropout, name="dropout")
        head = keras.layers.Dense(num_classes, name="logits")
        pad = PadEmpty(name="pad_empty")

        # === Functional model ===
        inputs = {
            "face_maps": keras.Input((None, *maps_shape), name="face_maps"),
            "mask": mask_input(),
        }
        mask = pad(inputs["mask"])
        x = clear(reduce(pad(inputs["face_maps"])), mask)
        x = clear(halve(convs[0](x)), mask)
        x = pool(convs[1](x), mask)
        super().__init__(
            inputs=inputs, outputs={"logits": head(drop(x))}, **kwargs
        )

        # === Config ===
        self.maps_shape = tuple(maps_shape)
        self.num_classes = num_classes
        self.filters = filters
        self.bins = bins
        self.dropout = dropout

    def get_config(self):
        return {
            "name": self.name,
            "maps_shape": self.maps_shape,
            "num_classes": self.num_classes,
            "filters": self.filters,
            "bins": self.bins,
            "dropout": self.dropout,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)


def _conv(filters, size, name):
    return keras.layers.Conv3D(
        filters, size, padding="same", activation="relu", name=name
    )


class ClearPadding(keras.layers.Layer):
    """Sets the padded steps of [B, T, h, w, C] to 0."""

    def call(self, x, valid):
        # Not called `mask`: Keras gives an argument of that name no shape.
        # Chosen, not multiplied: a client's padding may hold anything.
        valid = valid[:, :, None, None, None]
        return ops.where(valid, x, ops.zeros_like(x))

    def compute_output_shape(self, x_shape, valid_shape):
        return x_shape


class AdaptiveTimePooling(keras.layers.Layer):
    """Means over places and over `bins` parts of the valid steps.

    Args:
        bins: P, the parts; they overlap by a step where n is no multiple.

    Call arguments:
        x: float [B, T, h, w, C].
        valid: bool [B, T], a prefix mask.

    Returns:
        float [B, P C]; zeros where no step is valid.
    """

    def __init__(self, bins, **kwargs):
        super().__init__(**kwargs)
        self.bins = bins

    def call(self, x, valid):
        x = ops.mean(x, axis=(2, 3))
        counts = ops.sum(ops.cast(valid, "int32"), axis=1)[:, None]
        parts = ops.arange(self.bins, dtype="int32")[None]
        first = ops.floor_divide(parts * counts, self.bins)
        # The ceiling, in whole numbers.
        last = -ops.floor_divide(-(parts + 1) * counts, self.bins)
        steps = ops.cumsum(ops.ones_like(valid, dtype="int32"), axis=1) - 1
        inside = ops.logical_and(
            steps[:, None, :] >= first[:, :, None],
            steps[:, None, :] < last[:, :, None],
        )
        sizes = ops.cast(ops.maximum(last - first, 1), x.dtype)
        weights = ops.cast(inside, x.dtype) / sizes[:, :, None]
        pooled = ops.matmul(weights, x)
        return ops.reshape(pooled, (-1, self.bins * x.shape[-1]))

    def compute_output_shape(self, x_shape, valid_shape):
        return (x_shape[0], self.bins * x_shape[-1])

    def get_config(self):
        return {**super().get_config(), "bins": self.bins}
