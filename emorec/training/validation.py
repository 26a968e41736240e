"""What a finished training run learns of its model on the validation split.

Two parts of `Bundle.info`: `calibration`, the temperature by which its
confidence is told (`emorec.evaluation.calibration`), and `validation`, its
metrics by class, source and share of frames with a face, for the model card.

The unit is a record: one person in one window. A record without a face counts
as wrong in the metrics, and has no confidence to be calibrated.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from emorec.data import input_pipeline, keys, records
from emorec.data.feature_files import FeatureFiles
from emorec.evaluation import calibration, metrics
from emorec.training.bundle import Bundle

SPLIT = "validation"
# A model's description must stay small, whatever the manifest calls sources.
MAX_SOURCES = 100
_SCALARS = ("map", "acc", "ranking_map", "macro_f1", "uar", "cross_entropy")
# A cascade's batch of 32 clips of 32 frames takes 0.8 s eagerly and 0.02 s
# compiled, which takes 1.4 s once.
_EAGER_BATCHES = 2
_RECORD_BATCH = 1024
_DIGITS = 6


@dataclasses.dataclass(frozen=True)
class _Rows:
    """What the N labelled records say of themselves.

    Attributes:
        labelled: bool [all records], which of them these are.
        labels: int64 [N].
        sources: N names.
        coverage: N of `keys.COVERAGE`.
        answered: bool [N], whether there is a face.
    """

    labelled: np.ndarray
    labels: np.ndarray
    sources: np.ndarray
    coverage: np.ndarray
    answered: np.ndarray


def measure(made: Bundle, sources: Sequence[FeatureFiles]) -> dict:
    """Measures a trained model on the records of its validation split.

    Args:
        made: The model.
        sources: Records of features; may be empty.

    Returns:
        `calibration` (`calibration.of_clips`) where a record has a label and
        a face, and `validation` where one has a label; for `Bundle.info`.
    """
    rows = _rows(sources) if sources else None
    if rows is None or not len(rows.labels):
        return {}
    answers = _answers(made, sources, len(rows.labelled))[rows.labelled]
    found = {"validation": _measured(rows, answers, made.labels.names)}
    if rows.answered.any():
        found["calibration"] = calibration.of_clips(
            answers[rows.answered], rows.labels[rows.answered], SPLIT
        )
    return found


def _rows(sources) -> _Rows:
    spec = {
        keys.CLIP_LABEL_ID: tf.io.FixedLenFeature((), tf.int64),
        keys.CLIP_SOURCE: tf.io.FixedLenFeature((), tf.string),
        keys.FRAMES_TOTAL: tf.io.FixedLenFeature((), tf.int64),
        keys.FRAMES_WITH_FACE: tf.io.FixedLenFeature((), tf.int64),
    }
    # All sources hold the same clips.
    data = records.open_files(sources[0].files).batch(_RECORD_BATCH)
    labels, names, totals, faces = [], [], [], []
    for part in data.map(lambda r: tf.io.parse_example(r, spec)):
        labels += part[keys.CLIP_LABEL_ID].numpy().tolist()
        names += [
            n.decode(errors="replace") for n in part[keys.CLIP_SOURCE].numpy()
        ]
        totals += part[keys.FRAMES_TOTAL].numpy().tolist()
        faces += part[keys.FRAMES_WITH_FACE].numpy().tolist()
    labels, faces = np.array(labels, np.int64), np.array(faces, np.int64)
    coverage = [keys.coverage(t, f) for t, f in zip(totals, faces)]
    labelled = labels >= 0
    return _Rows(
        labelled,
        labels[labelled],
        np.array(names, object)[labelled],
        np.array(coverage, object)[labelled],
        faces[labelled] > 0,
    )


def _answers(made, sources, count) -> np.ndarray:
    """Returns the probabilities of all records, f32 [count, K]."""
    data = input_pipeline.evaluation_clips(sources, made.config)

    def ask(inputs):
        return made.model(inputs, training=False)["logits"]

    if count > _EAGER_BATCHES * made.config.train.batch_size:
        ask = tf.function(ask, input_signature=[data.element_spec[0]])
    return metrics.softmax(
        np.concatenate([ask(inputs).numpy() for inputs, _ in data])
    )


def _measured(rows, answers, names) -> dict:
    """Returns the metrics of all records and of the slices, as JSON values."""
    found = metrics.evaluate(rows.labels, answers, rows.answered, names)
    plain = found.to_dict()
    right = rows.answered & (answers.argmax(axis=1) == rows.labels)
    return {
        "split": SPLIT,
        "clips": found.n,
        "answered": found.answered,
        **{name: _rounded(plain[name]) for name in _SCALARS},
        "classes": {
            name: {
                "clips": plain["support"][i],
                "precision": _rounded(plain["precision"][i]),
                "recall": _rounded(plain["recall"][i]),
            }
            for i, name in enumerate(names)
        },
        "sources": _slices(rows.sources, rows.answered, right, MAX_SOURCES),
        "coverage": _slices(rows.coverage, rows.answered, right),
    }


def _slices(of, answered, right, most=None) -> dict:
    """Returns the accuracy of each group, the `most` largest of them."""
    names, counts = np.unique(of, return_counts=True)
    order = sorted(range(len(names)), key=lambda i: (-counts[i], names[i]))
    return {
        names[i]: {
            "clips": int(counts[i]),
            "answered": int(answered[of == names[i]].sum()),
            "acc": _rounded(right[of == names[i]].mean()),
        }
        for i in order[:most]
    }


def _rounded(value) -> float | None:
    return None if value is None else round(float(value), _DIGITS)
