"""What is computed without a gradient: a prior, a mapping, an ensemble."""

import numpy as np

from emorec import labels as label_sets
from emorec.data import input_pipeline
from emorec.errors import ConfigError, TrainingError
from emorec.evaluation import metrics
from emorec.models import presets

# The fit of an ensemble ends when no weight moves by more, or after so many
# steps: one step over 10,000 clips and five members takes under a
# millisecond.
_TOLERANCE = 1e-9
_MAX_STEPS = 20_000
_SMALLEST = 1e-12


def fit(run, encoders, labels, members) -> dict:
    """Sets the arrays of a network that no gradient trains.

    Args:
        run: The `loop.Run`.
        encoders: The frozen encoders.
        labels: The data set's labels.
        members: Of an ensemble, its trained members.

    Returns:
        What `Bundle.info` is to say of it, `notes` among it.

    Raises:
        ConfigError: The face classifier has no label of the data set.
        TrainingError: There are no clips to fit on.
    """
    how = presets.get(run.config.model.system).training
    if how == "prior":
        return _fit_prior(run)
    if how == "mapping":
        return _fit_mapping(run.model, encoders.face, labels)
    return _fit_members(run, members)


def _fit_prior(run) -> dict:
    counts = run.class_counts
    if not counts.sum():
        raise TrainingError(
            "no clip to count: none of the training records has both a face "
            "and a label"
        )
    # One clip more of each class keeps the logarithm of an absent one finite.
    prior = (counts + 1) / (counts.sum() + len(counts))
    run.model.get_layer("class_prior").log_prior.assign(np.log(prior))
    return {}


def _fit_mapping(model, encoder, labels) -> dict:
    if not encoder.labels:
        raise ConfigError(
            f"the face encoder {encoder.id!r} does not say what its answers "
            "mean; put a labels.txt with one class a line beside its file"
        )
    targets = label_sets.match(encoder.labels, labels.names)
    mapping = np.zeros((len(encoder.labels), len(labels)), np.float32)
    for row, target in enumerate(targets):
        if target is not None:
            mapping[row, target] = 1
    if not mapping.any():
        raise ConfigError(
            f"the face encoder {encoder.id!r} knows none of the labels "
            f"{', '.join(labels.names)}. Received: its classes "
            f"{', '.join(encoder.labels)}"
        )
    model.get_layer("label_average").mapping.assign(mapping)
    lacking = [n for n, c in zip(labels.names, mapping.sum(0)) if not c]
    unused = [n for n, target in zip(encoder.labels, targets) if target is None]
    notes = []
    if lacking:
        notes.append(f"the face classifier cannot give: {', '.join(lacking)}")
    if unused:
        notes.append(
            "answers of the face classifier that no label takes, spread over "
            f"the others: {', '.join(unused)}"
        )
    return {"notes": notes, "cannot_give": lacking, "unused": unused}


def _fit_members(run, members) -> dict:
    """Copies the members' weights, and fits theirs on the validation clips."""
    if not run.validation:
        raise TrainingError(
            "the weights of an ensemble are fitted on the validation split, "
            "and the data set has none"
        )
    for inner, member in zip(run.model.members, members, strict=True):
        for variable, value in zip(
            inner.weights, member.model.weights, strict=True
        ):
            variable.assign(value)
    answers, labels = [], []
    for inputs, label_ids in input_pipeline.evaluation_clips(
        run.validation, run.config, trainable_only=True
    ):
        answers.append(
            np.stack(
                [
                    metrics.softmax(_logits(inner, inputs))
                    for inner in run.model.members
                ],
                axis=1,
            )
        )
        labels.append(label_ids.numpy())
    if not labels:
        raise TrainingError(
            "the weights of an ensemble are fitted on the validation split, "
            "and none of its clips has both a face and a label"
        )
    labels = np.concatenate(labels)
    given = np.concatenate(answers)[np.arange(len(labels)), :, labels]
    weights = convex_weights(given)
    run.model.member_weights.assign(weights)
    return {
        "members": [
            {"system": m.system, "run": m.info["run"], "weight": float(w)}
            for m, w in zip(members, weights)
        ],
        "validation_clips": len(labels),
        "validation_log_loss": log_loss(given, weights),
        "notes": [n for m in members for n in m.info.get("notes", [])],
    }


def _logits(model, inputs):
    wanted = {t.name: inputs[t.name] for t in model.inputs}
    return model(wanted, training=False)["logits"].numpy()


def convex_weights(given: np.ndarray) -> np.ndarray:
    """Fits the weights of a mixture: none negative, their sum 1.

    The negative log-likelihood is convex in the weights; expectation
    maximisation from equal ones goes down to its minimum, without any
    randomness.

    Args:
        given: [N, M], the probability that each member gives to the true
            class of each clip.

    Returns:
        float64 [M].
    """
    given = np.maximum(np.asarray(given, np.float64), _SMALLEST)
    weights = np.full(given.shape[1], 1 / given.shape[1])
    for _ in range(_MAX_STEPS):
        shares = given * weights
        shares /= shares.sum(axis=1, keepdims=True)
        new = shares.mean(axis=0)
        moved = np.abs(new - weights).max()
        weights = new
        if moved < _TOLERANCE:
            break
    return weights / weights.sum()


def log_loss(given: np.ndarray, weights: np.ndarray) -> float:
    """Returns the mean negative log-likelihood of the mixture."""
    total = np.maximum(np.asarray(given, np.float64) @ weights, _SMALLEST)
    return float(-np.log(total).mean())
