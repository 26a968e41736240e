"""Real requests for every signature of a model, made from records."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import tensorflow as tf
from tfx.types import artifact, artifact_utils

from emorec.config import Config
from emorec.data import files, input_pipeline, keys, records
from emorec.errors import RecordError
from tfx_pipeline import candidates

DESCRIBE = "describe"
CLASSIFY = "classify"
# Why a signature of emorec is left out; else it is one of a later version.
NOT_MADE = MappingProxyType(
    {
        "feature_examples": "there are no records of features",
        "features": "there are no records of features",
        "frames": "the pixels of one clip would be too large a request",
        "video": "records hold crops, not whole frames",
    }
)
# Most bytes of pixels in a request.
MAX_PIXELS = 64 << 20
# Where clips are looked for when nobody names a split: first in those that
# the model did not learn from.
_SPLITS = ("validation", "eval", "test", "train")


@dataclasses.dataclass(frozen=True)
class Samples:
    """N clips to ask a model for.

    Attributes:
        frames: Their serialized records of frames; of a model that is not
            emorec's, whatever `examples` holds.
        features: Their serialized records of features; empty where there
            are none.
        expected: f32 [N, K], the trainer's answers; None where they are not
            known.
    """

    frames: tuple[bytes, ...]
    features: tuple[bytes, ...] = ()
    expected: np.ndarray | None = None


def gather(
    examples: artifact.Artifact,
    features: artifact.Artifact | None,
    model_run: artifact.Artifact | None,
    *,
    split: str,
    max_clips: int,
) -> Samples:
    """Finds clips for a model of emorec.

    Args:
        examples: Records of frames.
        features: Records of features of the same clips, or None.
        model_run: With `predictions.json`: which clips, and what the trainer
            answered; or None.
        split: Where to look; "" takes that of the predictions, else one of
            the splits that there are.
        max_clips: Most clips.

    Raises:
        RecordError: A file is damaged, or there is no clip to send.
    """
    predictions = None
    if model_run is not None:
        predicted_split, predictions = _predictions(model_run.uri)
        split = split or predicted_split
    frames = _chosen(examples, split, predictions, max_clips)
    described = {}
    if features is not None:
        described = _same_clips(features, split, frames)
        frames = {k: v for k, v in frames.items() if k in described}
        if not frames:
            raise RecordError(
                f"no clip that {examples.uri} and {features.uri} both hold; "
                "give the features that were made of these examples"
            )
    expected = None
    if predictions is not None:
        # A signature gives no answer without a face; a network would.
        expected = np.array(
            [
                np.asarray(predictions[k], np.float32) * _has_face(data)
                for k, data in frames.items()
            ]
        )
    return Samples(
        tuple(frames.values()),
        tuple(described[k] for k in frames if k in described),
        expected,
    )


def raw(examples: artifact.Artifact, split: str, max_records: int) -> Samples:
    """Takes the first records of a split, whatever they hold.

    Raises:
        RecordError: A file is damaged, or there is no record.
    """
    for name in _splits(examples, split):
        found = []
        for data in candidates.records(_uri(examples, name)):
            found.append(data)
            if len(found) == max_records:
                break
        if found:
            return Samples(tuple(found))
    raise _nothing(examples, split)


def _predictions(uri: str) -> tuple[str, dict[str, list[float]] | None]:
    """Reads the trainer's predictions: their split, and clip -> K numbers.

    None stands for no clip at all.
    """
    path = f"{uri}/{candidates.PREDICTIONS}"
    found = files.read_json(
        path, "predictions of the trainer", "run the Trainer again"
    )
    try:
        clips = {
            str(k): [float(p) for p in row] for k, row in found["clips"].items()
        }
        if len({len(row) for row in clips.values()}) > 1:
            raise ValueError("its clips must have K numbers each")
        return str(found["split"]), clips or None
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise RecordError(
            f"{path}: not the predictions of a trainer ({e!r:.200}); run the "
            "Trainer again"
        ) from e


def _chosen(examples, split, wanted, count) -> dict[str, bytes]:
    """Returns records of frames by `clip/id`; those with a face come first.

    At most one has none, and only beside others: it shows that such a clip
    is answered, and it shows nothing else.

    Args:
        examples: The artifact.
        split: Its split; "" takes the first that has records.
        wanted: What holds the ids to take; None takes any.
        count: Most records.
    """
    for name in _splits(examples, split):
        seen, blank = {}, {}
        for id_, data in _by_id(examples, name):
            if wanted is not None and id_ not in wanted:
                continue
            if _has_face(data):
                seen[id_] = data
            elif not blank:
                blank[id_] = data
            if len(seen) + (len(blank) if count > 1 else 0) == count:
                break
        if seen or blank:
            return dict([*seen.items(), *blank.items()][:count])
    if wanted is None:
        raise _nothing(examples, split)
    raise RecordError(
        f"{examples.uri}: its split {split!r} holds none of the "
        f"{len(wanted)} clips that the trainer has predictions of, such as "
        f"{next(iter(wanted))!r}; give the examples that the model was "
        "trained with"
    )


def _same_clips(features, split, frames) -> dict[str, bytes]:
    """Returns the records of features of some clips by `clip/id`."""
    found = {}
    for name in _splits(features, split):
        for id_, data in _by_id(features, name):
            if id_ in frames:
                found[id_] = data
                if len(found) == len(frames):
                    return found
    return found


def _by_id(examples, split) -> Iterator[tuple[str, bytes]]:
    for data in candidates.records(_uri(examples, split)):
        values = (
            candidates.example(data)
            .features.feature[keys.CLIP_ID]
            .bytes_list.value
        )
        yield values[0].decode(errors="replace") if values else "", data


def _splits(examples, split) -> list[str]:
    there = artifact_utils.decode_split_names(examples.split_names)
    if split:
        return [split] if split in there else []
    return [s for s in _SPLITS if s in there] + [
        s for s in there if s not in _SPLITS
    ]


def _uri(examples, split) -> str:
    return artifact_utils.get_split_uri([examples], split)


def _nothing(examples, split) -> RecordError:
    where = f"in its split {split!r} " if split else ""
    return RecordError(
        f"{examples.uri}: no record {where}to send to the server; give "
        "examples that hold one, or name another split"
    )


def _has_face(data: bytes) -> bool:
    feature = candidates.example(data).features.feature
    return bool(feature[keys.FRAME_TIME].float_list.value)


def requests(
    described: Mapping,
    samples: Samples,
    shapes: Mapping[str, Sequence[int]],
) -> dict[str, dict[str, np.ndarray]]:
    """Returns one request for each signature of a model of emorec.

    Args:
        described: `Bundle.describe()` of the model.
        samples: N clips.
        shapes: Shape of a step of each input of `features`, as the server
            tells it.

    Returns:
        Signature -> input -> an array of N rows, or of fewer where N would
        be too large a request. What is in `NOT_MADE` may be left out.
    """
    config = Config.from_dict(described["config"])
    sampling = input_pipeline.Sampling.of(config)
    streams = described["streams"]
    frames = _strings(samples.frames)
    jpegs = _jpegs(samples.frames, streams, sampling)
    made = {
        "serving_default": {"examples": frames},
        "jpegs": jpegs,
        CLASSIFY: {"inputs": frames},
        DESCRIBE: {"query": _strings([b""] * len(samples.frames))},
    }
    pixels = _pixels(jpegs, config.clip.crop_size)
    if pixels is not None:
        made["frames"] = pixels
    if samples.features:
        inputs = {n: tuple(shapes[n]) for n in described["inputs"]}
        made["feature_examples"] = {"examples": _strings(samples.features)}
        made["features"] = _features(samples.features, inputs, sampling)
    return made


def _jpegs(frames, streams, sampling) -> dict[str, np.ndarray]:
    examples = [candidates.example(data) for data in frames]
    indices = [_indices(e, sampling) for e in examples]
    length = max(1, *map(len, indices))
    made = {}
    for stream in streams:
        rows = np.full((len(examples), length), b"", object)
        for row, example, chosen in zip(rows, examples, indices, strict=True):
            jpegs = example.features.feature[keys.jpeg_key(stream)].bytes_list
            row[: len(chosen)] = [jpegs.value[i] for i in chosen]
        made[stream] = rows
    return made


def _pixels(jpegs, size) -> dict[str, np.ndarray] | None:
    """Decodes the first rows of JPEG crops; None if one row is too large."""
    mask = np.vectorize(len)(next(iter(jpegs.values()))) > 0
    row = mask.shape[1] * size * size * 3 * len(jpegs)
    rows = min(len(mask), MAX_PIXELS // row)
    if not rows:
        return None
    mask = mask[:rows]
    made = {"mask": mask}
    for stream, values in jpegs.items():
        pixels = np.zeros((*mask.shape, size, size, 3), np.uint8)
        for place in zip(*np.nonzero(mask)):
            pixels[place] = records.decode_jpeg(values[place], size)
        made[stream] = pixels
    return made


def _features(described, shapes, sampling) -> dict[str, np.ndarray]:
    examples = [candidates.example(data) for data in described]
    indices = [_indices(e, sampling) for e in examples]
    counts = np.array([len(chosen) for chosen in indices])
    length = max(1, counts.max())
    made = {"mask": np.arange(length)[None] < counts[:, None]}
    for name, shape in shapes.items():
        values = np.zeros((len(examples), length, *shape), np.float32)
        for row, example, chosen in zip(values, examples, indices, strict=True):
            floats = example.features.feature[keys.feature_key(name)].float_list
            steps = np.asarray(floats.value, np.float32).reshape(-1, *shape)
            row[: len(chosen)] = steps[chosen]
        made[name] = values
    return made


def _indices(example, sampling) -> np.ndarray:
    """Returns the steps that the signatures choose of a record by its times."""
    feature = example.features.feature
    times = np.asarray(feature[keys.FRAME_TIME].float_list.value, np.float32)
    start = feature[keys.CLIP_START].float_list.value
    indices, mask = input_pipeline.select_batch(
        tf.constant(times[None]),
        tf.constant(np.asarray(start, np.float32)),
        tf.constant([len(times)]),
        sampling,
    )
    return indices.numpy()[mask.numpy()]


def _strings(values: Sequence[bytes]) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array
