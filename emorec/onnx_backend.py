"""The prediction backend of ONNX Runtime: no TensorFlow, no Keras."""

import os
from collections.abc import Sequence

import numpy as np

from emorec import predict
from emorec.errors import ModelError, RecordError
from emorec.evaluation import metrics
from emorec.export import names
from emorec.features import encoders
from emorec.onnx_folder import OnnxFolder
from emorec.predict_crops import decode_jpegs
from emorec.video.clip import Clip
from emorec.video.onnx_engine import OnnxEngine


class OnnxBackend:
    """A model exported to ONNX; see `emorec.predict.Backend`.

    Args:
        path: What `emorec export --format onnx` wrote.
        threads: Of each network; by default one for every core that this
            process may use.

    Raises:
        ModelError: It is absent, damaged, or not of emorec.
        EmorecError: onnxruntime is not installed.
    """

    def __init__(self, path: str | os.PathLike, threads: int | None = None):
        self._folder = OnnxFolder(path, threads)
        self.description = self._folder.description()
        try:
            self.config, self.labels = predict.parse_description(
                self.description
            )
            self._inputs = self._read_inputs()
        except ModelError as e:
            raise ModelError(f"{self._folder.path}: {e}") from e
        self._encoders = {
            stream: self._load_encoder(stream, kinds)
            for stream in encoders.STREAMS
            if (kinds := encoders.kinds_of(self._inputs, stream))
        }
        self._model = self._folder.session(
            names.ONNX_MODEL, {*self._inputs, "mask"}, {"logits"}
        )
        # A system without a trained part does not read its inputs.
        self._reads = {i.name for i in self._model.get_inputs()}
        gives = {o.name for o in self._model.get_outputs()}
        self._gives = [n for n in ("logits", "attention") if n in gives]

    def engine(self) -> OnnxEngine:
        """Returns the networks for a `FaceDetector` of the same directory."""
        return OnnxEngine(
            *(
                self._folder.session(name, {"pixels"}, {"offsets", "logits"})
                for name in names.ONNX_NETS
            )
        )

    def warm_up(self) -> None:
        """Nothing: a session's first answer is as quick as the next."""

    def predict(self, clips: Sequence[Clip]) -> list[predict.Answer]:
        counts = [c.frames_with_face for c in clips]
        jpegs = {
            stream: [j for c in clips for j in getattr(c, stream)]
            for stream in self._encoders
        }
        return predict.split_answers(*self._run(jpegs, counts), counts)

    def serving_default(self, examples: list[bytes]) -> np.ndarray:
        """Probabilities f32 [B, K] for serialized records of frames.

        As the SavedModel's signature: of the frames that an evaluation takes,
        and 0 for a record without any. Records are read by TensorFlow, which
        is imported only here.
        """
        made = np.zeros((len(examples), len(self.labels)), np.float32)
        streams = self.description["streams"]
        rows = [_chosen(data, streams, self.config) for data in examples]
        counts = [len(row[streams[0]]) for row in rows]
        if any(counts):
            jpegs = {s: [j for row in rows for j in row[s]] for s in streams}
            seen = [n for n in counts if n]
            made[np.array(counts) > 0] = self._run(jpegs, seen)[0]
        return made

    def _read_inputs(self) -> tuple[str, ...]:
        """Returns what the network reads of each step, `<stream>_<kind>`."""
        inputs = self.description.get("inputs")
        streams = self.description["streams"]
        if not isinstance(inputs, list) or not all(
            isinstance(i, str) and i.partition("_")[0] in streams
            for i in inputs
        ):
            raise ModelError(
                "the model's description is not complete (`inputs` must name "
                f"inputs of {', '.join(streams)}); export it again"
            )
        return tuple(inputs)

    def _load_encoder(self, stream, kinds):
        """Returns a stream's `(file's name, session, kinds)`."""
        name = names.onnx_encoder(stream)
        session = self._folder.session(name, {"images"}, set(kinds))
        return name, session, kinds

    def _run(
        self, jpegs: dict[str, list[bytes]], counts: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Answers for clips.

        Args:
            jpegs: Stream -> the crops of all clips, one after the other.
            counts: Frames of each clip, 1 or more.

        Returns:
            Probabilities f32 [B, K], and attention f32 [B, T, T] or None.
        """
        mask = predict.prefix_mask(counts)
        inputs = {"mask": mask}
        for stream in self._encoders:
            for kind, values in self._encode(stream, jpegs[stream]).items():
                inputs[f"{stream}_{kind}"] = predict.padded(values, mask)
        name = names.ONNX_MODEL
        with self._folder.named_errors(name):
            found = self._model.run(
                self._gives, {n: inputs[n] for n in self._reads}
            )
        logits, *attention = found
        batch, steps = mask.shape
        self._check(name, logits, (batch, len(self.labels)))
        for weights in attention:
            self._check(name, weights, (batch, steps, steps))
        return metrics.softmax(logits), attention[0] if attention else None

    def _encode(self, stream, jpegs) -> dict[str, np.ndarray]:
        """Returns what an encoder gives of n crops, kind -> f32 [n, ...]."""
        name, session, kinds = self._encoders[stream]
        size = self.config.clip.crop_size
        batch = self.config.features.batch_frames
        parts = []
        for i in range(0, len(jpegs), batch):
            images = decode_jpegs(jpegs[i : i + batch], size)
            with self._folder.named_errors(name):
                made = session.run(list(kinds), {"images": images})
            for values in made:
                self._check(name, values, (len(images), *values.shape[1:]))
            parts.append(made)
        return {k: np.concatenate(p) for k, p in zip(kinds, zip(*parts))}

    def _check(self, name, values, shape):
        if values.shape != shape:
            raise ModelError(
                f"{self._folder.path}: {name} must answer in the shape "
                f"{list(shape)}. Received: {list(values.shape)}; make it "
                "again with `emorec export --format onnx`"
            )


def _chosen(data: bytes, streams, config) -> dict[str, list[bytes]]:
    """Returns the crops of a record that an evaluation takes, by stream."""
    import tensorflow as tf

    from emorec.data import input_pipeline, keys, records

    sampling = input_pipeline.Sampling.of(config)
    example = tf.train.Example.FromString(data)
    indices = input_pipeline.select(
        tf.constant(records.many(example, keys.FRAME_TIME), tf.float32),
        tf.constant(records.one(example, keys.CLIP_START), tf.float32),
        tf.constant(0),
        sampling,
    ).numpy()[: sampling.clip_frames]
    crops = {s: records.many(example, keys.jpeg_key(s)) for s in streams}
    for stream, found in crops.items():
        if len(indices) and len(found) <= indices[-1]:
            raise RecordError(
                f"a record must hold a crop for every time. Received: "
                f"{len(found)} of the {stream} stream; make the data set "
                "again with `emorec prepare`"
            )
    return {s: [found[i] for i in indices] for s, found in crops.items()}
