"""What every signature ends in: the encoders and the network.

Both are functions of the graph of their own, traced once and called by each
signature.
"""

from collections.abc import Callable, Mapping

import tensorflow as tf

from emorec.features import encoders
from emorec.training.bundle import Bundle

# Frames decoded and encoded at once: bounds a request's memory (SqueezeNet's
# first maps are 3 MB a frame) whatever its B x T.
CHUNK_FRAMES = 64


class Network:
    """A trained model as graph functions.

    Args:
        bundle: The model.
    """

    def __init__(self, bundle: Bundle):
        self._bundle = bundle
        size = bundle.config.clip.crop_size
        images = tf.TensorSpec((None, size, size, 3), tf.uint8)
        self._kinds = {
            stream: encoders.kinds_of(bundle.inputs, stream)
            for stream, _ in bundle.encoders.items()
        }
        self._parts = {
            stream: tf.function(
                encoder.part(*self._kinds[stream]).__call__,
                input_signature=[images],
                autograph=False,
            )
            for stream, encoder in bundle.encoders.items()
        }
        self._model = tf.function(
            lambda inputs: bundle.model(inputs, training=False),
            input_signature=[
                {
                    **{
                        n: tf.TensorSpec((None, None, *s))
                        for n, s in bundle.encoders.shapes.items()
                        if n in bundle.inputs
                    },
                    "mask": tf.TensorSpec((None, None), tf.bool),
                }
            ],
            autograph=False,
        )

    def of_crops(
        self,
        crops: Mapping[str, tf.Tensor],
        mask: tf.Tensor,
        to_images: Callable[[tf.Tensor, str], tf.Tensor],
    ) -> dict[str, tf.Tensor]:
        """Encodes crops and answers; padding is never looked at.

        Args:
            crops: Stream -> [B, T, ...], in whatever form they came.
            mask: bool [B, T].
            to_images: Crops [N, ...] and their stream's name to uint8
                [N, s, s, 3].

        Returns:
            See `answer`.
        """
        where = tf.where(mask)
        shape = tf.cast(tf.shape(mask), tf.int64)
        inputs = {}
        for stream, part in self._parts.items():
            inputs |= self._encode(
                stream,
                lambda places, stream=stream, part=part: part(
                    to_images(tf.gather_nd(crops[stream], places), stream)
                ),
                where,
                shape,
            )
        return self.answer(inputs, mask)

    def _encode(self, stream, encode, where, shape):
        """Runs an encoder once for all that the network reads of it.

        Args:
            stream: Its name.
            encode: Places int64 [N, 2] in [B, T] -> kind -> f32 [N, ...].
            where: int64 [n, 2], the places of all frames.
            shape: int64 [2], B and T.
        """
        kinds = self._kinds[stream]
        sizes = [self._bundle.encoders.of(stream).outputs[k] for k in kinds]
        count = tf.shape(where)[0]
        # A first chunk of no frames, so that concat() has one.
        chunks = [
            tf.TensorArray(
                tf.float32, size=0, dynamic_size=True, infer_shape=False
            ).write(0, tf.zeros((0, *size)))
            for size in sizes
        ]

        def body(i, *chunks):
            made = encode(where[i * CHUNK_FRAMES : (i + 1) * CHUNK_FRAMES])
            return i + 1, *(c.write(i, made[k]) for c, k in zip(chunks, kinds))

        _, *chunks = tf.while_loop(
            lambda i, *_: i * CHUNK_FRAMES < count, body, (0, *chunks)
        )
        return {
            f"{stream}_{kind}": tf.scatter_nd(
                where,
                tf.ensure_shape(chunk.concat(), (None, *size)),
                tf.concat([shape, tf.constant(size, tf.int64)], 0),
            )
            for kind, size, chunk in zip(kinds, sizes, chunks)
        }

    def answer(
        self, inputs: Mapping[str, tf.Tensor], mask: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Runs the network.

        Args:
            inputs: What it reads, f32 [B, T, ...] each.
            mask: bool [B, T].

        Returns:
            `logits` and `probabilities` f32 [B, K], the latter 0 where a row
            has no frame; `labels` string [B, K]; `attention` f32 [B, T, T]
            where the system has one.
        """
        outputs = self._model({**inputs, "mask": mask})
        logits = outputs["logits"]
        answered = tf.reduce_any(mask, axis=1)[:, None]
        names = tf.constant([list(self._bundle.labels.names)])
        answer = {
            "logits": logits,
            "probabilities": tf.where(answered, tf.nn.softmax(logits), 0.0),
            "labels": tf.tile(names, [tf.shape(logits)[0], 1]),
        }
        if "attention" in outputs:
            answer["attention"] = outputs["attention"]
        return answer
