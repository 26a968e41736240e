"""What several of the networks are made of."""

import dataclasses

import keras
from keras import ops

from emorec.models.kernels import LSTM


@dataclasses.dataclass(frozen=True)
class StreamSpec:
    """One stream of a network and the stack that reads it.

    Attributes:
        name: The stream's name; its input is `<name>_features`.
        size: D, size of its feature vectors.
        encoder_units: F, size of the dense encoding; 0 passes the features
            on as they are.
        layers: LSTM layers of its stack, at least 1.
    """

    name: str
    size: int
    encoder_units: int = 128
    layers: int = 1


def as_specs(streams) -> list[StreamSpec]:
    """Returns `StreamSpec`s of themselves or of their dicts, checked.

    Raises:
        ValueError: There are none, names repeat, or one has no layer.
    """
    specs = [
        s if isinstance(s, StreamSpec) else StreamSpec(**s) for s in streams
    ]
    if not specs:
        raise ValueError("`streams` must not be empty. Received: []")
    if len({s.name for s in specs}) != len(specs):
        raise ValueError(
            "`streams` must have different names. Received: "
            f"{[s.name for s in specs]}"
        )
    if any(s.layers < 1 for s in specs):
        raise ValueError(
            "`streams` must have 1 layer or more each. Received: "
            f"{[s.layers for s in specs]}"
        )
    return specs


def stream_inputs(specs) -> dict:
    """Makes the inputs `<name>_features` [B, T, D] and `mask` [B, T]."""
    inputs = {
        f"{s.name}_features": keras.Input(
            (None, s.size), name=f"{s.name}_features"
        )
        for s in specs
    }
    return {**inputs, "mask": mask_input()}


def mask_input():
    """Makes the input `mask`, bool [B, T]."""
    return keras.Input((None,), dtype="bool", name="mask")


def stream_encoder(spec: StreamSpec) -> keras.layers.Layer | None:
    """Makes the dense encoding of a stream; None where it has none."""
    if not spec.encoder_units:
        return None
    return keras.layers.Dense(
        spec.encoder_units, activation="relu", name=f"{spec.name}_encoder"
    )


def plain_lstm(units: int, name: str, use_cudnn) -> LSTM:
    """Makes an LSTM that gives its outputs and its final state."""
    return LSTM(
        units,
        return_sequences=True,
        return_state=True,
        use_cudnn=use_cudnn,
        name=name,
    )


class PadEmpty(keras.layers.Layer):
    """Gives [B, 0, ...] one padded step; a Keras LSTM cannot read none."""

    def call(self, x):
        batch, steps, *rest = ops.shape(x)
        # Known while JAX traces, where a slice must have a known length.
        if isinstance(steps, int) and steps > 0:
            return x
        step = ops.zeros((batch, 1, *rest), x.dtype)
        if isinstance(steps, int):
            return step
        longer = ops.concatenate([x, step], axis=1)
        return longer[:, : ops.maximum(steps, 1)]

    def compute_output_shape(self, x_shape):
        return x_shape


class CutToMask(keras.layers.Layer):
    """Cuts [B, S, S] to the [B, T, T] of a mask [B, T]."""

    def call(self, x, like):
        steps = ops.shape(like)[1]
        return x[:, :steps, :steps]

    def compute_output_shape(self, x_shape, like_shape):
        return (x_shape[0], like_shape[1], like_shape[1])
