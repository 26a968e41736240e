"""A model on a split: predictions for every row, metrics, and their files.

The unit is a row of the manifest. A row's windows are averaged, weighted by
their frames; a row without a face in any has no answer and counts as wrong.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import numpy as np

from emorec.data import dataset, input_pipeline, keys, records, shards
from emorec.errors import RecordError
from emorec.evaluation import batches, calibration
from emorec.evaluation import metrics as measures
from emorec.evaluation.evaluation_result import Report, temperature_of
from emorec.features import extract
from emorec.training.bundle import Bundle

__all__ = [
    "BATCH_RECORDS",
    "ClipPrediction",
    "Report",
    "report",
    "with_backend",
    "with_bundle",
]

# Records asked for at once. A dense one, for training, holds about 15 MB.
BATCH_RECORDS = 16


@dataclasses.dataclass(frozen=True)
class ClipPrediction:
    """A model's answer for one record.

    Attributes:
        row: The manifest row's id.
        video: The path as the manifest wrote it.
        source: The manifest's source column.
        label_id: The true class.
        frames_with_face: n, the record's own.
        row_frames: Sampled frames of its row, and those with somebody who is
            in a record.
        probabilities: float32 [K]; of no meaning where n is 0.
    """

    row: str
    video: str
    source: str
    label_id: int
    frames_with_face: int
    row_frames: tuple[int, int]
    probabilities: np.ndarray


def with_bundle(
    data: dataset.Dataset,
    split: str,
    bundle: Bundle,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[ClipPrediction]:
    """Predicts a split's records with a model in this process.

    Its features are computed unless they lie beside the records.

    Raises:
        EmorecError: The data set does not fit the model or is not complete.
    """
    dataset.check_fits(data, bundle.config, bundle.labels, "this model")
    row_frames = _row_frames(data, split)
    features = extract.extract(
        data,
        split,
        bundle.encoders,
        bundle.inputs,
        bundle.config,
        progress=progress,
    )
    # Row by row, as there may be none: a split can be of empty shards.
    answers = itertools.chain.from_iterable(
        measures.softmax(bundle.model(inputs, training=False)["logits"].numpy())
        for inputs, _ in input_pipeline.evaluation_clips(
            features, bundle.config
        )
    )
    examples = (e for shard in features[0].files for e in records.read(shard))
    return [
        _prediction(data, example, answer, row_frames)
        for example, answer in zip(examples, answers, strict=True)
    ]


def with_backend(
    data: dataset.Dataset,
    split: str,
    backend,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[ClipPrediction]:
    """Predicts a split's records with a SavedModel or a server.

    Args:
        data: The prepared data set.
        split: One of its splits.
        backend: Has `config`, `labels` and `serving_default(examples)`.
        progress: Called with (shards done, all shards).

    Raises:
        EmorecError: The data set does not fit the model or is not complete.
    """
    dataset.check_fits(data, backend.config, backend.labels, "this model")
    row_frames = _row_frames(data, split)
    made = []
    paths = data.files(split)
    for done, shard in enumerate(paths):
        for batch in batches.bounded(
            records.read(shard), lambda e: e.ByteSize(), BATCH_RECORDS
        ):
            for example in batch:
                extract.check_config(example, backend.config, shard)
            answers = backend.serving_default(
                [e.SerializeToString() for e in batch]
            )
            made += [
                _prediction(data, example, answer, row_frames)
                for example, answer in zip(batch, answers, strict=True)
            ]
        if progress is not None:
            progress(done + 1, len(paths))
    return made


def _row_frames(data, split) -> dict[str, tuple[int, int]]:
    """Returns the frames of each row, as the shards' summaries have them."""
    found = {}
    for path in data.files(split):
        found.update(shards.read_summary(path).row_frames)
    return found


def _prediction(data, example, probabilities, row_frames) -> ClipPrediction:
    row = records.one(example, keys.CLIP_ID).split("/")[0]
    if row not in row_frames:
        raise RecordError(
            f"{data.path}: the summaries of its shards do not know the row "
            f"{row!r}; run `emorec prepare` again with --overwrite"
        )
    return ClipPrediction(
        row=row,
        row_frames=row_frames[row],
        video=records.one(example, keys.VIDEO_PATH),
        source=records.one(example, keys.CLIP_SOURCE),
        label_id=records.one(example, keys.CLIP_LABEL_ID),
        frames_with_face=records.one(example, keys.FRAMES_WITH_FACE),
        probabilities=np.asarray(probabilities),
    )


def report(
    data: dataset.Dataset,
    split: str,
    clips: Sequence[ClipPrediction],
    description: dict,
) -> Report:
    """Aggregates records to rows and measures them.

    Raises:
        RecordError: No record of the split has a label.
    """
    groups: dict[str, list[ClipPrediction]] = {}
    for clip in clips:
        if clip.label_id >= 0:
            groups.setdefault(clip.row, []).append(clip)
    if not groups:
        raise RecordError(
            f"{data.path}: no record of the split {split!r} has a label"
        )
    names = data.labels.names
    parts = list(groups.values())
    labels = np.array([part[0].label_id for part in parts])
    means = [_mean(part) for part in parts]
    answered = np.array([mean is not None for mean in means])
    probabilities = np.stack(
        [np.zeros(len(names)) if mean is None else mean for mean in means]
    )
    majority = _majority(data, labels)
    constant = np.zeros_like(probabilities)
    constant[:, majority] = 1
    temperature = temperature_of(description)
    return Report(
        split=split,
        rows=[
            _row(part, p, names, temperature)
            for part, p in zip(parts, probabilities)
        ],
        metrics=measures.evaluate(labels, probabilities, answered, names),
        majority=names[majority],
        majority_metrics=measures.evaluate(labels, constant, None, names),
        coverage=data.coverage(split),
        failures=[f for f in data.failures if f["split"] == split],
        description=description,
        fingerprint=data.fingerprint,
    )


def _mean(part) -> np.ndarray | None:
    """A row's probabilities, weighted by frames; None without any face."""
    with_face = [c for c in part if c.frames_with_face]
    if not with_face:
        return None
    return np.average(
        [c.probabilities for c in with_face],
        axis=0,
        weights=[c.frames_with_face for c in with_face],
    )


def _majority(data, labels) -> int:
    """The training split's commonest class; this split's where it has none."""
    counts = data.splits.get("train", {}).get("labels", {})
    known = [counts.get(name, 0) for name in data.labels.names]
    return (
        int(np.argmax(known)) if any(known) else measures.majority_class(labels)
    )


def _row(part, probabilities, names, temperature) -> dict:
    total, with_face = part[0].row_frames
    label, predicted, confidence = names[part[0].label_id], None, None
    if with_face:
        predicted = names[int(probabilities.argmax())]
        own = probabilities
        if temperature is not None:
            own = calibration.apply(probabilities, temperature)
        confidence = float(own.max())
    return {
        "row": part[0].row,
        "video": part[0].video,
        "source": part[0].source,
        "label": label,
        "predicted": predicted,
        "correct": predicted == label,
        "confidence": confidence,
        "frames": total,
        "frames_with_face": with_face,
        "probabilities": probabilities.tolist(),
    }
