"""Baselines that no gradient trains: the face CNN's answer, and a constant.

Their arrays are set once (`emorec.training.fitted`) and kept in a model's
weight file like any other's.
"""

import keras
from keras import ops

from emorec.models.parts import mask_input

# A label that cannot be given has this much before the softmax: its
# probability is nearly 0 and its logit finite.
_SMALLEST = 1e-7


@keras.saving.register_keras_serializable("emorec")
class FaceAverage(keras.Model):
    """The face classifier's own answer, averaged over the clip.

    Args:
        num_answers: M, classes of the face classifier.
        num_classes: K, labels of the data set.

    Inputs, a dict:
        face_probabilities: float32 [B, T, M].
        mask: bool [B, T], a prefix mask.

    Outputs, a dict:
        logits: float32 [B, K], logarithms of the shares. The mass of classes
            that no label takes is spread over the others in proportion.
    """

    def __init__(self, num_answers, num_classes=8, **kwargs):
        # === Layers ===
        average = LabelAverage(num_classes, name="label_average")

        # === Functional model ===
        inputs = {
            "face_probabilities": keras.Input(
                (None, num_answers), name="face_probabilities"
            ),
            "mask": mask_input(),
        }
        logits = average(inputs["face_probabilities"], inputs["mask"])
        super().__init__(inputs=inputs, outputs={"logits": logits}, **kwargs)

        # === Config ===
        self.num_answers = num_answers
        self.num_classes = num_classes

    def get_config(self):
        return {
            "name": self.name,
            "num_answers": self.num_answers,
            "num_classes": self.num_classes,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)


class LabelAverage(keras.layers.Layer):
    """Averages [B, T, M] over valid steps and maps it to K labels.

    Its one weight, `mapping` [M, K], is 1 where a class is a label.
    """

    def __init__(self, num_classes, **kwargs):
        super().__init__(**kwargs)
        self.num_classes = num_classes

    def build(self, x_shape, valid_shape):
        self.mapping = self.add_weight(
            shape=(x_shape[-1], self.num_classes),
            initializer="zeros",
            trainable=False,
            name="mapping",
        )
        self.built = True

    def call(self, x, valid):
        # Not called `mask`: Keras gives an argument of that name no shape.
        # Chosen, not multiplied: a client's padding may hold anything.
        x = ops.where(valid[:, :, None], x, ops.zeros_like(x))
        total = ops.sum(x, axis=1)
        shares = ops.matmul(total, self.mapping)
        mass = ops.sum(shares, axis=-1, keepdims=True)
        shares = shares / ops.maximum(mass, _SMALLEST)
        return ops.log(ops.maximum(shares, _SMALLEST))

    def compute_output_shape(self, x_shape, valid_shape):
        return (x_shape[0], self.num_classes)

    def get_config(self):
        return {**super().get_config(), "num_classes": self.num_classes}


@keras.saving.register_keras_serializable("emorec")
class Majority(keras.Model):
    """The classes' shares in training, whatever the clip.

    Its most probable label is the majority class.

    Args:
        num_classes: K.

    Inputs, a dict:
        mask: bool [B, T].

    Outputs, a dict:
        logits: float32 [B, K], the same in every row.
    """

    def __init__(self, num_classes=8, **kwargs):
        # === Layers ===
        prior = ClassPrior(num_classes, name="class_prior")

        # === Functional model ===
        mask = mask_input()
        super().__init__(
            inputs={"mask": mask}, outputs={"logits": prior(mask)}, **kwargs
        )

        # === Config ===
        self.num_classes = num_classes

    def get_config(self):
        return {"name": self.name, "num_classes": self.num_classes}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)


class ClassPrior(keras.layers.Layer):
    """Gives its one weight, `log_prior` [K], to each row of a batch."""

    def __init__(self, num_classes, **kwargs):
        super().__init__(**kwargs)
        self.num_classes = num_classes

    def build(self, like_shape):
        self.log_prior = self.add_weight(
            shape=(self.num_classes,),
            initializer="zeros",
            trainable=False,
            name="log_prior",
        )
        self.built = True

    def call(self, like):
        rows = ops.zeros((ops.shape(like)[0], 1), self.compute_dtype)
        return rows + ops.convert_to_tensor(self.log_prior)[None]

    def compute_output_shape(self, like_shape):
        return (like_shape[0], self.num_classes)

    def get_config(self):
        return {**super().get_config(), "num_classes": self.num_classes}
