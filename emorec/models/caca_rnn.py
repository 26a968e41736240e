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

from emorec.models.attention import AttentionLSTM
from emorec.models.parts import (
    CutToMask,
    PadEmpty,
    as_specs,
    plain_lstm,
    stream_encoder,
    stream_inputs,
)


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
        attention: Whether later stacks attend to the earlier ones; without,
            their top layers are plain LSTMs (an ablation).
        seeding: Whether later stacks start from the final state of the one
            before; without, from zeros (an ablation).
        use_cudnn: Passed to `keras.layers.LSTM`; `False` keeps the graph free
            of ops that a server on a CPU does not have.

    Inputs, a dict:
        <name>_features: float32 [B, T, D] for each stream.
        mask: bool [B, T], a prefix mask. A row without a valid step gives
            finite logits that mean nothing; T may be 0 (a batch in which
            nobody has a face).

    Outputs, a dict:
        logits: float32 [B, K].
        attention: float32 [B, T, T], for two streams or more that attend:
            row t holds the weights over the last but one stream's steps
            before step t of the last stream was read; rows sum to 1 at valid
            steps, else 0.
        attention_<name>: the same over every earlier stream's steps, where
            there are more than two.
    """

    def __init__(
        self,
        streams,
        units=128,
        num_classes=8,
        dropout=0.0,
        attention=True,
        seeding=True,
        use_cudnn="auto",
        **kwargs,
    ):
        specs = as_specs(streams)
        if len(specs) > 1 and not (attention or seeding):
            raise ValueError(
                "`attention` and `seeding` must not both be cut: nothing "
                "would be left of the earlier streams. Received: False, False"
            )

        # === Layers ===
        encoders = [stream_encoder(s) for s in specs]
        stacks = [
            _stack(s, position if attention else 0, units, use_cudnn)
            for position, s in enumerate(specs)
        ]
        drop = keras.layers.Dropout(dropout, name="dropout")
        head = keras.layers.Dense(num_classes, name="logits")
        pad, cut = PadEmpty(name="pad_empty"), CutToMask(name="attention")

        # === Functional model ===
        inputs = stream_inputs(specs)
        mask = inputs["mask"]
        padded_mask = pad(mask)
        memories, state, weights = [], None, []
        for spec, encoder, stack in zip(specs, encoders, stacks):
            x = pad(inputs[f"{spec.name}_features"])
            if encoder is not None:
                x = drop(encoder(x))
            memory, state, weights = _read(
                x, padded_mask, stack, memories, state if seeding else None
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
        self.attention = attention
        self.seeding = seeding
        self.use_cudnn = use_cudnn

    def get_config(self):
        return {
            "name": self.name,
            "streams": [dataclasses.asdict(s) for s in self.streams],
            "units": self.units,
            "num_classes": self.num_classes,
            "dropout": self.dropout,
            "attention": self.attention,
            "seeding": self.seeding,
            "use_cudnn": self.use_cudnn,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)


def _stack(spec, attends_to, units, use_cudnn):
    """Makes the layers of one stack; the top one attends where it can."""
    plain = spec.layers - 1 if attends_to else spec.layers
    layers = [
        plain_lstm(units, f"{spec.name}_lstm_{i + 1}", use_cudnn)
        for i in range(plain)
    ]
    if attends_to:
        layers.append(
            AttentionLSTM(
                units,
                num_memories=attends_to,
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
