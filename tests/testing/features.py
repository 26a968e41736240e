"""Makes small TFRecords of features for tests of what reads them."""

import dataclasses
import pathlib
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from emorec.data import keys, records
from emorec.data.feature_files import FeatureFiles
from emorec.video.clip import Clip

DIMS = {"face": 4, "context": 3}
HOLDS = {"face_features": (4,), "context_features": (3,)}


@dataclasses.dataclass(frozen=True)
class FeatureClip:
    """One clip; its features are drawn around its label's point.

    Attributes:
        id: `clip/id`, which seeds its features too.
        label_id: -1 where it has no label.
        times: Seconds of its frames.
        start: Seconds; where it begins.
        noise: Spread of the features. NaN makes all of them NaN.
        wrong: Added to the label whose point the features are drawn around.
    """

    id: str
    label_id: int = 0
    times: tuple[float, ...] = (0.0, 0.125, 0.25, 0.375)
    start: float = 0.0
    noise: float = 0.3
    wrong: int = 0

    def features(self) -> dict[str, np.ndarray]:
        """Returns `{"face": f32 [n, Df], "context": f32 [n, Dc]}`."""
        rng = np.random.default_rng(list(self.id.encode()))
        found = {}
        for stream, size in DIMS.items():
            point = np.zeros(size)
            point[(self.label_id + self.wrong) % 3] = 1.0
            drawn = rng.normal(0, 1, (len(self.times), size))
            found[stream] = np.float32(point + self.noise * drawn)
        return found

    def example(self) -> tf.train.Example:
        """Returns the record, as `emorec.features.extract` writes it."""
        n = len(self.times)
        clip = Clip(
            track=0 if n else -1,
            window=0,
            start=self.start,
            end=self.start + 10,
            times=np.asarray(self.times, np.float32),
            boxes=np.zeros((n, 4), np.float32),
            face=(b"",) * n,
            context=(b"",) * n,
            frames_total=n + 1,
            frame_size=(64, 48),
        )
        made = records.to_example(clip, clip_id=self.id, label_id=self.label_id)
        feature = made.features.feature
        feature.pop(keys.FACE_JPEG)
        feature.pop(keys.CONTEXT_JPEG)
        for stream, key in (
            ("face", keys.FACE_FEATURES),
            ("context", keys.CONTEXT_FEATURES),
        ):
            values = self.features()[stream].reshape(-1)
            feature[key].float_list.value.extend(values)
        return made


def sources(paths) -> list[FeatureFiles]:
    """Returns files as what the pipeline reads."""
    return [FeatureFiles(HOLDS, tuple(paths))]


def write(path, clips: Iterable[FeatureClip]) -> str:
    """Writes the clips to a TFRecord file and returns its path."""
    path = pathlib.Path(path)
    records.write(path, (clip.example() for clip in clips))
    return str(path)


def clips_of(name: str, labels: Iterable[int], **changes) -> list[FeatureClip]:
    """Returns one clip a label, of 3 to 6 frames."""
    return [
        FeatureClip(
            f"{name}{i}",
            label,
            **{"times": tuple(t / 8 for t in range(3 + i % 4)), **changes},
        )
        for i, label in enumerate(labels)
    ]
