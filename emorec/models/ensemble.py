"""A linear ensemble: the weighted sum of its members' outputs (section IV)."""

import keras
from keras import ops

# Keeps the logarithm of a share of 0 finite.
_SMALLEST = 1e-7


@keras.saving.register_keras_serializable("emorec")
class Ensemble(keras.Model):
    """The weighted sum of the members' probabilities.

    Args:
        members: Networks of this package; their inputs of one name are one.

    Inputs, a dict:
        The inputs of all members.

    Outputs, a dict:
        logits: float32 [B, K], logarithms of the summed probabilities.
        attention: float32 [B, T, T], of the first member that has one.
    """

    def __init__(self, members, **kwargs):
        if not members:
            raise ValueError("`members` must not be empty. Received: []")

        # === Layers ===
        total = WeightedSum(name="weighted_sum")

        # === Functional model ===
        inputs = {}
        for member in members:
            for tensor in member.inputs:
                inputs.setdefault(
                    tensor.name,
                    keras.Input(
                        tensor.shape[1:], dtype=tensor.dtype, name=tensor.name
                    ),
                )
        answers = [
            member({t.name: inputs[t.name] for t in member.inputs})
            for member in members
        ]
        outputs = {"logits": total([a["logits"] for a in answers])}
        for answer in answers:
            if "attention" in answer:
                outputs.setdefault("attention", answer["attention"])
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)

        # === Config ===
        self.members = list(members)

    @property
    def member_weights(self) -> keras.Variable:
        """The weights of the sum, float32 [M]."""
        return self.get_layer("weighted_sum").shares

    def get_config(self):
        return {
            "name": self.name,
            "members": [
                keras.saving.serialize_keras_object(m) for m in self.members
            ],
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        members = [
            keras.saving.deserialize_keras_object(m, custom_objects)
            for m in config["members"]
        ]
        return cls(members, name=config["name"])


class WeightedSum(keras.layers.Layer):
    """Logarithm of the weighted sum of the softmax of M logits [B, K].

    Its one weight, `shares` [M], sums to 1; it starts equal and is fitted on
    the validation split (`emorec.training.fitted`).
    """

    def build(self, shapes):
        self.shares = self.add_weight(
            shape=(len(shapes),),
            initializer=keras.initializers.Constant(1 / len(shapes)),
            trainable=False,
            name="shares",
        )
        self.built = True

    def call(self, logits):
        stacked = ops.softmax(ops.stack(logits, axis=1), axis=-1)
        total = ops.sum(stacked * self.shares[None, :, None], axis=1)
        return ops.log(ops.maximum(total, _SMALLEST))

    def compute_output_shape(self, shapes):
        return shapes[0]
