"""What a Trainer's run leaves, beside its checkpoints, and what it begins with.

See `tfx_pipeline.trainer` for the folders.
"""

import json
import tempfile
from typing import Any

import tensorflow as tf
from absl import logging

from emorec.data import files, input_pipeline, keys, records
from emorec.errors import EmorecError, ModelError
from emorec.evaluation import metrics
from emorec.export import saved_model
from emorec.features import feature_set
from emorec.training import bundle
from tfx_pipeline import candidates

# Below `assets.extra`, which no server reads and a push carries along.
BASE = "emorec_model"
MAX_PREDICTIONS = 64
# Which split's clips are predicted: the first that has any.
_PREDICTED = ("validation", "test", "train")


def read_base(
    saved_model_dir: str, features: feature_set.FeatureSet
) -> bundle.Bundle:
    """Reads the model that a warm start begins from.

    Its weights lie in its SavedModel, under `assets.extra`; its encoders
    have to be those of the feature set, which are not kept twice.

    Args:
        saved_model_dir: What `publish` made.
        features: The feature set that is trained on.

    Raises:
        ModelError: It is none of ours, damaged, or of other encoders.
    """
    place = files.join(saved_model_dir, "assets.extra", BASE)
    with tempfile.TemporaryDirectory() as folder:
        try:
            for name in (bundle.WEIGHTS, bundle.FILE):
                files.copy(files.join(place, name), files.join(folder, name))
            for stream, encoder in features.encoders.items():
                encoder.save(files.join(folder, "encoders", stream))
            return bundle.load(folder)
        except EmorecError as e:
            reason = str(e).replace(folder, place)
            raise ModelError(
                f"{saved_model_dir}: no base for a warm start on these "
                f"features ({reason}); leave warm_start out"
            ) from e


def publish(
    made: bundle.Bundle,
    features: feature_set.FeatureSet,
    folder: str,
    model_dir: str,
    serving_dir: str,
) -> None:
    """Writes predictions and the SavedModel of a trained model.

    Args:
        made: The trained model.
        features: The feature set that it was trained on.
        folder: The run's folder, for `predictions.json`.
        model_dir: Its model folder.
        serving_dir: The SavedModel to be.

    Raises:
        ExportError: The SavedModel answers otherwise than the model; it is
            not there then.
    """
    files.write_json(
        files.join(folder, candidates.PREDICTIONS), predictions(features, made)
    )
    differences = saved_model.write_to(
        bundle.load(model_dir, use_cudnn=False),
        serving_dir,
        extra={
            f"{BASE}/{name}": files.join(model_dir, name)
            for name in (bundle.FILE, bundle.WEIGHTS)
        },
    )
    logging.info("exported; largest differences: %s", json.dumps(differences))


def predictions(
    features: feature_set.FeatureSet, made: bundle.Bundle
) -> dict[str, Any]:
    """Returns the Keras model's answers, for others to be held against.

    Args:
        features: The feature set.
        made: The trained model.

    Returns:
        `split`, and `clips`: `clip/id` -> K probabilities, all 0 of a clip
        without a face; the first of the validation split, else of the test
        split, else of the training split.
    """
    sources = features.sources(made.inputs)
    for split in _PREDICTED:
        clips = _answers(sources[split], made) if split in sources else {}
        if clips:
            return {"split": split, "clips": clips}
    return {"split": "", "clips": {}}


def _answers(sources, made) -> dict[str, list[float]]:
    ids = (
        records.one(example, keys.CLIP_ID)
        for path in sources[0].files
        for example in records.read(path)
    )
    clips = {}
    for inputs, _ in input_pipeline.evaluation_clips(sources, made.config):
        logits = made.model(inputs, training=False)["logits"].numpy()
        seen = tf.reduce_any(inputs["mask"], axis=1).numpy()[:, None]
        for answer in metrics.softmax(logits) * seen:
            clips[next(ids)] = [float(value) for value in answer]
            if len(clips) == MAX_PREDICTIONS:
                return clips
    return clips
