"""A trained model that answers here; see `emorec.predict.Backend`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from emorec import predict
from emorec.evaluation import metrics as measures
from emorec.features import detector, sessions
from emorec.predict_crops import decode_jpegs
from emorec.training import graphs
from emorec.video.clip import Clip
from emorec.video.engine import Engine

if TYPE_CHECKING:
    # Keras, without which graphs run.
    from emorec.training.bundle import Bundle


class LocalBackend:
    """A trained model in this process.

    Args:
        model: A `emorec.training.bundle.Bundle`, or the graphs of one.
    """

    def __init__(self, model: "Bundle | graphs.Graphs"):
        if not isinstance(model, graphs.Graphs):
            model = graphs.of(model)
        self.config = model.config
        self.labels = model.labels
        self.description = model.description
        self._networks = model.networks
        self._is_warm = False
        self._runs: dict[str, sessions.Run] = {}

    @property
    def _streams(self) -> list[str]:
        """The streams of which the network reads anything."""
        return [s for s in self.description["streams"] if s in self._networks]

    def _run(self, name: str) -> "sessions.Run":
        """Returns what runs a network; the recurrent one stays in float32."""
        if name not in self._runs:
            wanted = {
                "none": (),
                "context": ("context",),
                "all": self._streams,
            }[self.config.features.bfloat16]
            self._runs[name] = sessions.runner(
                self._networks[name],
                bfloat16=name in wanted and sessions.has_bfloat16(),
                # It would take longer than the answers of 300 clips gain.
                optimized=name != graphs.NETWORK,
            )
        return self._runs[name]

    def engine(self) -> Engine:
        """Returns the networks of a face detector beside this model."""
        return detector.engine()

    def warm_up(self) -> None:
        if self._is_warm:
            return
        self._is_warm = True
        size = self.config.clip.crop_size
        picture = np.zeros((1, size, size, 3), np.uint8)
        made = {}
        for stream in self._streams:
            made |= self._answers(stream, picture)
        self.answer(made, 1)

    def predict(self, clips: Sequence[Clip]) -> list[predict.Answer]:
        made = {}
        for stream in self._streams:
            made |= self.encode(stream, clips)
        answers, start = [], 0
        for clip in clips:
            end = start + clip.frames_with_face
            answers.append(
                self.answer(
                    {k: v[start:end] for k, v in made.items()}, end - start
                )
            )
            start = end
        return answers

    def answer(self, inputs, count: int) -> "predict.Answer":
        """Runs the network for one clip of `count` frames.

        Alone, it needs no padding, and its answer is the same to the last
        bit whatever it came with. Eight at a time would save 3 ms a clip.
        """
        inputs = {name: values[None] for name, values in inputs.items()}
        inputs["mask"] = np.ones((1, count), bool)
        outputs = self._run(graphs.NETWORK)(inputs)
        return predict.split_answers(
            measures.softmax(outputs["logits"]),
            outputs.get("attention"),
            [count],
        )[0]

    def encode(
        self, stream: str, clips: Sequence[Clip]
    ) -> dict[str, np.ndarray]:
        """Returns what the network reads of a stream, f32 [frames, ...]."""
        jpegs = [j for c in clips for j in getattr(c, stream)]
        # By OpenCV: `records.decode_jpegs` gives the same pixels, and takes
        # five times as long outside of a graph.
        images = decode_jpegs(jpegs, self.config.clip.crop_size)
        return self._answers(stream, images)

    def _answers(self, stream, images) -> dict[str, np.ndarray]:
        run, size = self._run(stream), self.config.features.batch_frames
        parts = [
            run({sessions.IMAGES: images[i : i + size]})
            for i in range(0, len(images), size)
        ]
        return {
            f"{stream}_{kind}": np.concatenate([part[kind] for part in parts])
            for kind in parts[0]
        }
