"""The paper's two ways to fuse streams without a cascade (section IV).

Face-RNN and Context-RNN, the third and fourth of its baselines, are cascades
of one stack (`emorec.models.caca_rnn`).
"""

import dataclasses

import keras

from emorec.models.parts import (
    PadEmpty,
    as_specs,
    plain_lstm,
    stream_encoder,
    stream_inputs,
)


class _StreamsRNN(keras.Model):
    """What the two have in common: their arguments and their config.

    Args:
        streams: `StreamSpec`s, or their dicts.
        units: H, LSTM units.
        num_classes: K.
        dropout: Share of encoded features and of the final state dropped in
            training.
        use_cudnn: Passed to `keras.layers.LSTM`; `False` keeps the graph free
            of ops that a server on a CPU does not have.

    Inputs, a dict:
        <name>_features: float32 [B, T, D] for each stream.
        mask: bool [B, T], a prefix mask. A row without a valid step gives
            finite logits that mean nothing; T may be 0.

    Outputs, a dict:
        logits: float32 [B, K].
    """

    def __init__(
        self,
        streams,
        units=128,
        num_classes=8,
        dropout=0.0,
        use_cudnn="auto",
        **kwargs,
    ):
        specs = as_specs(streams)

        # === Layers ===
        encoders = [stream_encoder(s) for s in specs]
        stacks = self.stacks(specs, units, use_cudnn)
        drop = keras.layers.Dropout(dropout, name="dropout")
        head = keras.layers.Dense(num_classes, name="logits")
        pad = PadEmpty(name="pad_empty")

        # === Functional model ===
        inputs = stream_inputs(specs)
        mask = pad(inputs["mask"])
        sequences = []
        for spec, encoder in zip(specs, encoders):
            x = pad(inputs[f"{spec.name}_features"])
            sequences.append(x if encoder is None else drop(encoder(x)))
        last = self.fuse(sequences, stacks, mask)
        super().__init__(
            inputs=inputs, outputs={"logits": head(drop(last))}, **kwargs
        )

        # === Config ===
        self.streams = tuple(specs)
        self.units = units
        self.num_classes = num_classes
        self.dropout = dropout
        self.use_cudnn = use_cudnn

    @staticmethod
    def stacks(specs, units, use_cudnn):
        """Makes the stacks of LSTM layers."""
        raise NotImplementedError

    @staticmethod
    def fuse(sequences, stacks, mask):
        """Gives the state [B, S] that the prediction is taken from."""
        raise NotImplementedError

    def get_config(self):
        return {
            "name": self.name,
            "streams": [dataclasses.asdict(s) for s in self.streams],
            "units": self.units,
            "num_classes": self.num_classes,
            "dropout": self.dropout,
            "use_cudnn": self.use_cudnn,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)


@keras.saving.register_keras_serializable("emorec")
class ParallelRNN(_StreamsRNN):
    """One stack a stream; their last states side by side (Parallel-RNN)."""

    @staticmethod
    def stacks(specs, units, use_cudnn):
        return [
            [
                plain_lstm(units, f"{s.name}_lstm_{i + 1}", use_cudnn)
                for i in range(s.layers)
            ]
            for s in specs
        ]

    @staticmethod
    def fuse(sequences, stacks, mask):
        states = [
            _read(x, stack, mask)
            for x, stack in zip(sequences, stacks, strict=True)
        ]
        return keras.layers.Concatenate(name="states")(states)


@keras.saving.register_keras_serializable("emorec")
class ConcatenatedRNN(_StreamsRNN):
    """One stack over the streams side by side (Concatenated-RNN).

    It has the layers of the stream that has most.
    """

    @staticmethod
    def stacks(specs, units, use_cudnn):
        return [
            plain_lstm(units, f"lstm_{i + 1}", use_cudnn)
            for i in range(max(s.layers for s in specs))
        ]

    @staticmethod
    def fuse(sequences, stacks, mask):
        return _read(
            keras.layers.Concatenate(name="streams")(sequences), stacks, mask
        )


def _read(x, stack, mask):
    """Runs a stack of LSTM layers; returns its state at the last step."""
    for layer in stack:
        x, state, _ = layer(x, mask=mask)
    return state
