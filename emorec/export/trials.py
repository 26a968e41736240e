"""Requests to each signature of an export, and the Keras model's answers.

The answers are computed as `emorec predict` does, by the encoders and the
network alone: nothing here is one of the signatures' functions.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf

from emorec.data import records
from emorec.export import made_up
from emorec.export.network import CHUNK_FRAMES
from emorec.features import encoders
from emorec.training.bundle import Bundle
from emorec.video import faces
from emorec.video.clip import Clip, ClipBuilder
from emorec.video.reader import Frame

# A clip of more frames than are decoded at once: beyond it, pixels would take
# minutes.
_MOST_PIXELS = CHUNK_FRAMES + 1
# A size that crops have to be brought from.
_FOREIGN_SIZE = 75
# Windows of whole frames, with faces and without.
_WINDOWS = (("F",), ("",), ("FF.FF", "", "...", "F"))


@dataclasses.dataclass(frozen=True)
class Trial:
    """A request and what the model says to it.

    Attributes:
        signature: Whom it is for.
        inputs: An array for each input.
        expected: An array for each output.
    """

    signature: str
    inputs: Mapping[str, np.ndarray]
    expected: Mapping[str, np.ndarray]


def make(bundle: Bundle) -> Iterator[Trial]:
    """Yields requests: one clip and several; short, long and empty ones."""
    rng = np.random.default_rng(0)
    size = bundle.config.clip.crop_size
    longest = bundle.config.clip.clip_frames
    shown = min(longest, _MOST_PIXELS)
    # The first one's crops are of another size than the model's.
    for lengths, side in (
        ((1,), _FOREIGN_SIZE),
        ((0,), size),
        ((shown, shown, 0, 1), size),
    ):
        clips = [
            made_up.clip(
                *(
                    [made_up.picture(rng, side) for _ in range(n)]
                    for _ in encoders.STREAMS
                ),
                bundle.config,
            )
            for n in lengths
        ]
        yield from _of_clips(bundle, clips)
    if longest > shown:
        yield _of_long(bundle, rng, longest)
    yield from _of_videos(bundle)
    for query in ([b""], [b"", b"x"]):
        text = json.dumps(bundle.describe()).encode()
        yield Trial(
            "describe",
            {"query": made_up.strings(query)},
            {"config": made_up.strings([text] * len(query))},
        )


def _of_clips(bundle, clips) -> Iterator[Trial]:
    counts = [c.frames_with_face for c in clips]
    longest = max(counts)
    mask = made_up.masked(counts, longest)
    jpegs = {
        s: made_up.padded([getattr(c, s) for c in clips], longest)
        for s in bundle.streams
    }
    features = encode(bundle, jpegs, mask)
    answer = expected(bundle, features, mask)
    examples = made_up.frame_records(clips)
    described = made_up.feature_records(bundle, examples, features)
    frames = made_up.serialized(examples)
    inputs = {
        "serving_default": {"examples": frames},
        "feature_examples": {"examples": made_up.serialized(described)},
        "features": {**features, "mask": mask},
        "frames": {**_pixels(jpegs, mask), "mask": mask},
        "jpegs": jpegs,
    }
    for name, values in inputs.items():
        yield Trial(name, values, answer)
    yield Trial(
        "classify",
        {"inputs": frames},
        {"classes": answer["labels"], "scores": answer["probabilities"]},
    )


def _of_long(bundle, rng, longest) -> Trial:
    """The longest clip, as features: its pixels would take minutes."""
    mask = np.ones((1, longest), bool)
    features = {
        name: np.abs(
            rng.normal(size=(*mask.shape, *bundle.encoders.shapes[name]))
        ).astype(np.float32)
        for name in bundle.inputs
    }
    return Trial(
        "features",
        {**features, "mask": mask},
        expected(bundle, features, mask),
    )


def _of_videos(bundle) -> Iterator[Trial]:
    """Whole frames, which `emorec predict` analyses with OpenCV and NumPy."""
    config = bundle.config
    detector = faces.FaceDetector(config.detector)
    for windows in _WINDOWS:
        steps = max(map(len, windows))
        frames, times = made_up.whole_frames(windows, steps, config)
        rows = [
            _main_person(detector, config, row[: len(window)], seconds)
            for row, seconds, window in zip(frames, times, windows, strict=True)
        ]
        counts = [row.frames_with_face for row in rows]
        mask = made_up.masked(counts, steps)
        jpegs = {
            s: made_up.padded([getattr(row, s) for row in rows], steps)
            for s in bundle.streams
        }
        boxes = np.zeros((*mask.shape, 4), np.float32)
        found = np.zeros(mask.shape, bool)
        for i, row in enumerate(rows):
            at = np.isin(times[i], row.times)
            found[i], boxes[i, at] = at, row.boxes
        yield Trial(
            "video",
            {"frames": frames, "times": times},
            {
                **expected(bundle, encode(bundle, jpegs, mask), mask),
                "boxes": boxes,
                "mask": found,
            },
        )


def _main_person(detector, config, jpegs, times) -> Clip:
    """Returns the clip of one window's main person; no frames without one."""
    builder = ClipBuilder(
        detector,
        config,
        fps=config.video.fps,
        window_frames=max(1, len(jpegs)),
        people="main",
    )
    frames = (
        Frame(i, i, time, records.decode(data).numpy())
        for i, (data, time) in enumerate(zip(jpegs, times))
    )
    (made,) = builder.build(frames)
    return made


def encode(
    bundle: Bundle, jpegs: Mapping[str, np.ndarray], mask: np.ndarray
) -> dict[str, np.ndarray]:
    """Returns what the network reads of crops, 0 where there is none.

    Args:
        bundle: The model.
        jpegs: Stream -> string [B, T].
        mask: bool [B, T], where there are crops.

    Returns:
        Input -> f32 [B, T, ...].
    """
    made = {
        name: np.zeros((*mask.shape, *bundle.encoders.shapes[name]), np.float32)
        for name in bundle.inputs
    }
    places = np.argwhere(mask)
    for i in range(0, len(places), CHUNK_FRAMES):
        chunk = tuple(places[i : i + CHUNK_FRAMES].T)
        for stream, encoder in bundle.encoders.items():
            kinds = encoders.kinds_of(bundle.inputs, stream)
            images = records.decode_jpegs(
                tf.constant(jpegs[stream][chunk]), bundle.config.clip.crop_size
            )
            for kind, values in encoder.part(*kinds)(images).items():
                made[f"{stream}_{kind}"][chunk] = values
    return made


def expected(
    bundle: Bundle, features: Mapping[str, np.ndarray], mask: np.ndarray
) -> dict[str, np.ndarray]:
    """Returns the model's answer; 0 probabilities where there is no frame."""
    outputs = bundle.model({**features, "mask": mask}, training=False)
    answer = {
        k: np.asarray(outputs[k])
        for k in ("logits", "attention")
        if k in outputs
    }
    answer["probabilities"] = (
        tf.nn.softmax(answer["logits"]).numpy() * mask.any(1)[:, None]
    )
    names = [n.encode() for n in bundle.labels.names]
    answer["labels"] = np.array([names] * len(mask), object)
    return answer


def _pixels(jpegs, mask) -> dict[str, np.ndarray]:
    """Decodes crops, uint8 [B, T, h, w, 3], at the size that they have."""
    made = {}
    for stream, values in jpegs.items():
        images = [records.decode(data).numpy() for data in values[mask]]
        shape = images[0].shape if images else (1, 1, 3)
        pixels = made[stream] = np.zeros((*mask.shape, *shape), np.uint8)
        if images:
            pixels[mask] = images
    return made
