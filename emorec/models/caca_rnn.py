"""The context-aware cascade attention-based RNN, for any number of streams.

Glossary:
    stream: one sequence of feature vectors; all streams of a clip have the
        same steps and share the clip's mask.
    stack: the LSTM layers that read one stream.
    cascade: stacks in an order; each is seeded by the final state of the one
        before it, and its top layer attends to the top hidden states of
        all stacks before it.
"""

import dataclasses

import keras
from keras import ops

from emorec.models.attention import AttentionLSTM


@dataclasses.dataclass(frozen=True)
class StreamSpec:
    """One stream of a cascade and the stack that reads it.

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


@keras.saving.register_keras_serializable("emorec")
class CascadeRNN(keras.Model):
    """A cascade of recurrent stacks with attention (paper, figure 2).

    The first stack reads its whole stream. Its final `(h, c)` is the initial
    state of every layer of the second stack, whose top layer attends to the
    first's hidden states at each step (`AttentionLSTM`). The prediction is
    taken from the last stack's state at the last valid step. With the streams
    `context, face` of sizes 512 and 2048, 128 units everywhere, two layers in
    the first stack and 8 classes it has the 789 256 parameters of CACA-RNN A.

    Args:
        streams: `StreamSpec`s, or their dicts, in the order of the cascade.
        units: H, LSTM units, the same in every stack.
        num_classes: K.
        dropout: Share of encoded features and of the final state dropped in
            training.
        use_cudnn: Passed to `keras.layers.LSTM`; `False` keeps the graph free
            of ops that a server on a CPU does not have.

    Inputs, a dict:
        <name>_features: float32 [B, T, D] for each stream.
        mask: bool [B, T], a prefix mask. A row without a valid step gives
            finite logits that mean nothing; T may be 0 (a batch in which
            nobody has a face).

    Outputs, a dict:
        logits: float32 [B, K].
        attention: float32 [B, T, T], for two streams or more: row t holds the
            weights over the last but one stream's steps before step t of the
            last stream was read; rows sum to 1 at valid steps, else 0.
        attention_<name>: the same over every earlier stream's steps, where
            there are more than two.
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

        # === Layers ===
        encoders = [
            keras.layers.Dense(
                s.encoder_units, activation="relu", name=f"{s.name}_encoder"
            )
            if s.encoder_units
            else None
            for s in specs
        ]
        stacks = [
            _stack(s, position, units, use_cudnn)
            for position, s in enumerate(specs)
        ]
        drop = keras.layers.Dropout(dropout, name="dropout")
        head = keras.layers.Dense(num_classes, name="logits")
        pad, cut = _PadEmpty(name="pad_empty"), _CutToMask(name="attention")

        # === Functional model ===
        inputs = {
            f"{s.name}_features": keras.Input(
                (None, s.size), name=f"{s.name}_features"
            )
            for s in specs
        }
        mask = inputs["mask"] = keras.Input((None,), dtype="bool", name="mask")
        padded_mask = pad(mask)
        memories, state, weights = [], None, []
        for spec, encoder, stack in zip(specs, encoders, stacks):
            x = pad(inputs[f"{spec.name}_features"])
            if encoder is not None:
                x = drop(encoder(x))
            memory, state, weights = _read(
                x, padded_mask, stack, memories, state
            )
            memories.append(memory)
        weights = [cut(w, mask) for w in weights]
        outputs = {"logits": head(drop(state[0]))}
        if weights:
            outputs["attention"] = weights[-1]
        if len(weights) > 1:
            for spec, w in zip(specs, weights):
                outputs[f"attention_{spec.name}"] = w
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)

        # === Config ===
        self.streams = tuple(specs)
        self.units = units
        self.num_classes = num_classes
        self.dropout = dropout
        self.use_cudnn = use_cudnn

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


class _PadEmpty(keras.layers.Layer):
    """Gives [B, 0, ...] one padded step; a Keras LSTM cannot read none."""

    def call(self, x):
        batch, steps, *rest = ops.shape(x)
        step = ops.zeros((batch, 1, *rest), x.dtype)
        longer = ops.concatenate([x, step], axis=1)
        return longer[:, : ops.maximum(steps, 1)]

    def compute_output_shape(self, x_shape):
        return x_shape


class _CutToMask(keras.layers.Layer):
    """Cuts [B, S, S] to the [B, T, T] of a mask [B, T]."""

    def call(self, x, like):
        steps = ops.shape(like)[1]
        return x[:, :steps, :steps]

    def compute_output_shape(self, x_shape, like_shape):
        return (x_shape[0], like_shape[1], like_shape[1])


def _stack(spec, position, units, use_cudnn):
    """Makes the layers of one stack; the top one attends where it can."""
    plain = spec.layers - 1 if position else spec.layers
    layers = [
        keras.layers.LSTM(
            units,
            return_sequences=True,
            return_state=True,
            use_cudnn=use_cudnn,
            name=f"{spec.name}_lstm_{i + 1}",
        )
        for i in range(plain)
    ]
    if position:
        layers.append(
            AttentionLSTM(
                units,
                num_memories=position,
                name=f"{spec.name}_attention_lstm",
            )
        )
    return layers


def _read(x, mask, stack, memories, seed):
    """Runs one stack; returns its hidden states, final state and weights."""
    state, weights = None, []
    for layer in stack:
        if isinstance(layer, AttentionLSTM):
            x, state, weights = layer(
                x,
                memories,
                seed,
                mask=mask,
                memory_masks=[mask] * len(memories),
            )
        else:
            x, *state = layer(x, mask=mask, initial_state=seed)
    return x, state, weights
