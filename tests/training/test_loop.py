"""The training loop on tiny records of features."""

import collections
import dataclasses
import pathlib
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.util import event_pb2
from testing import features
from testing.pooled import Pooled, inputs_of_ones

from emorec.config import Config
from emorec.data import input_pipeline
from emorec.errors import TrainingError
from emorec.training import checkpoint, loop

CONFIG = Config().override(
    [
        "train.batch_size=4",
        "train.epochs=5",
        "train.learning_rate=0.02",
    ]
)
LABELS = [0, 0, 0, 0, 0, 1, 1, 1, 2, 2]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    return {
        "train": features.sources(
            features.write(
                folder / f"train-{i}.tfrecord",
                features.clips_of(f"t{i}", LABELS),
            )
            for i in range(2)
        ),
        "validation": files(
            features.write(
                folder / "validation.tfrecord",
                features.clips_of("v", [0, 1, 2, 0, 1, 2, 0]),
            )
        ),
    }


def files(*paths):
    return features.sources(paths)


class Killed(Exception):
    pass


def prepare(data, folder, seed=0, assignments=(), **changes) -> loop.Run:
    """Returns a fresh run, as `emorec.training.train` makes one."""
    config = CONFIG.override(assignments)
    keras.utils.set_random_seed(seed)
    model = Pooled()
    model(inputs_of_ones())
    run = loop.Run(
        model=model,
        train=data["train"],
        validation=data["validation"],
        config=config,
        class_counts=input_pipeline.class_counts(data["train"], 3),
        seed=seed,
        name=f"run of seed {seed}",
        folder=str(folder),
    )
    return dataclasses.replace(run, **changes)


def fit(data, folder, kill_after=None, **kwargs):
    """Trains; returns the run and its history."""
    run = prepare(data, folder, **kwargs)

    def on_epoch(epoch, _):
        if epoch == kill_after:
            raise Killed

    return run, loop.fit(run, on_epoch)


def weights(run) -> list[np.ndarray]:
    return [np.array(v) for v in run.model.variables]


def stored(folder) -> dict[str, np.ndarray]:
    """Everything in a run's checkpoint."""
    with np.load(pathlib.Path(folder) / "checkpoints" / checkpoint.FILE) as f:
        return {name: f[name] for name in f.files}


def assert_equal(a, b):
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.fixture(scope="module")
def uninterrupted(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return (*fit(data, folder), folder)


def test_learns_and_reports(uninterrupted):
    run, history, _ = uninterrupted
    assert len(history) == 5
    for figures in history:
        assert set(figures) == {
            "loss",
            "accuracy",
            "val_loss",
            "val_accuracy",
        }
        assert all(type(v) is float for v in figures.values())
    assert history[-1]["val_loss"] < history[0]["val_loss"]
    # Accuracies are shares of 20 and of 7 clips.
    for name, clips in (("accuracy", 20), ("val_accuracy", 7)):
        share = history[-1][name] * clips
        assert share == pytest.approx(round(share)) and 0 <= share <= clips
    assert run.class_counts.tolist() == [10, 6, 4]


def test_the_same_seed_gives_the_same_weights(data, uninterrupted, tmp_path):
    run, history, _ = uninterrupted
    again, same = fit(data, tmp_path)
    assert same == history
    assert_equal(weights(again), weights(run))


def test_another_seed_gives_others(data, uninterrupted, tmp_path):
    run, history, _ = uninterrupted
    other, figures = fit(data, tmp_path, seed=1)
    assert figures != history
    assert not np.array_equal(weights(other)[0], weights(run)[0])


@pytest.mark.parametrize("epoch", [0, 2])
def test_a_killed_run_goes_on_as_if_nothing_had_been(
    data, uninterrupted, tmp_path, epoch
):
    run, history, folder = uninterrupted
    with pytest.raises(Killed):
        fit(data, tmp_path, kill_after=epoch)
    seen = []
    again = prepare(data, tmp_path)
    # Another process has drawn other numbers in the meantime.
    again.model(inputs_of_ones(), training=True)
    figures = loop.fit(again, lambda e, _: seen.append(e))
    assert seen == list(range(epoch + 1, 5))
    assert figures == history
    assert_equal(weights(again), weights(run))
    # The optimizer's state and the best weights as well.
    ours, theirs = stored(tmp_path), stored(folder)
    assert ours.keys() == theirs.keys()
    assert_equal(list(ours.values()), list(theirs.values()))


def test_a_finished_run_trains_no_more(data, uninterrupted):
    run, history, folder = uninterrupted
    before = stored(folder)
    seen = []
    again = prepare(data, folder)
    assert loop.fit(again, lambda e, _: seen.append(e)) == history
    assert seen == []
    assert_equal(weights(again), weights(run))
    assert_equal(list(stored(folder).values()), list(before.values()))


def test_a_checkpoint_of_another_run_is_refused(data, tmp_path):
    fit(data, tmp_path, assignments=["train.epochs=1"])
    with pytest.raises(TrainingError) as e:
        fit(data, tmp_path, seed=1)
    assert str(e.value) == (
        f"{tmp_path}/checkpoints: holds a run with another config, data set "
        "or seed; choose another --output_dir, or give --overwrite"
    )


def test_a_loss_that_is_not_finite_stops_it(data, tmp_path):
    fit(data, tmp_path, assignments=["train.epochs=2"])
    kept = stored(tmp_path)
    bad = features.write(
        tmp_path / "bad.tfrecord",
        features.clips_of("bad", [0] * 4, noise=float("nan")),
    )
    epochs = []
    run = prepare(data, tmp_path, train=files(*data["train"][0].files, bad))
    with pytest.raises(TrainingError) as e:
        loop.fit(run, lambda epoch, _: epochs.append(epoch))
    # 24 clips make 6 steps; the bad ones may be in the first.
    message = str(e.value)
    steps = [f"became nan at step {i + 1} of epoch 3; " for i in range(6)]
    assert sum(step in message for step in steps) == 1
    assert message.endswith(
        "the checkpoint of the epoch before is kept. Lower "
        "train.learning_rate and train again with another --output_dir"
    )
    assert epochs == []
    assert_equal(list(stored(tmp_path).values()), list(kept.values()))


def test_a_validation_loss_that_is_not_finite_stops_it(data, tmp_path):
    bad = features.write(
        tmp_path / "bad.tfrecord",
        features.clips_of("bad", [0], noise=float("nan")),
    )
    with pytest.raises(TrainingError) as e:
        fit(data, tmp_path, validation=files(bad))
    assert str(e.value) == (
        "the loss became nan at the validation of epoch 1; no epoch was "
        "finished, so nothing is kept. Lower train.learning_rate and train "
        "again with another --output_dir"
    )
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize("validated", [True, False])
def test_weights_that_the_last_update_poisoned_are_not_kept(
    data, tmp_path, validated
):
    """The loss of the one step is that of the weights before it."""
    run = prepare(
        data,
        tmp_path,
        # Beyond float32: the update is infinite, or 0 times infinity.
        assignments=[
            "train.learning_rate=1e39",
            "train.batch_size=20",
            "train.epochs=1",
        ],
        validation=data["validation"] if validated else [],
    )
    with pytest.raises(TrainingError) as e:
        loop.fit(run)
    problem, _, rest = str(e.value).partition("; ")
    assert re.fullmatch(
        "the weights became (nan|inf|-inf) at step 1 of epoch 1", problem
    )
    assert rest == (
        "no epoch was finished, so nothing is kept. Lower "
        "train.learning_rate and train again with another --output_dir"
    )
    assert not list(tmp_path.rglob("*"))


class Squared(Pooled):
    """Answers beyond float32 with weights that are well below its limit."""

    def call(self, inputs, training=False):
        logits = super().call(inputs, training)["logits"]
        return {"logits": logits * logits}


@pytest.mark.parametrize("validated", [True, False])
def test_a_model_that_the_last_update_made_useless_is_not_kept(
    data, tmp_path, validated
):
    """All weights stay finite; the one step's loss is the one before it."""
    model = Squared()
    model(inputs_of_ones())
    run = prepare(
        data,
        tmp_path,
        assignments=[
            "train.learning_rate=1e30",
            "train.batch_size=20",
            "train.epochs=1",
        ],
        model=model,
        validation=data["validation"] if validated else [],
    )
    where = "the validation" if validated else "step 1"
    with pytest.raises(TrainingError) as e:
        loop.fit(run)
    assert re.match(
        f"the loss became (nan|inf) at {where} of epoch 1; no epoch was ",
        str(e.value),
    )
    assert all(np.isfinite(w).all() for w in weights(run))
    assert not list(tmp_path.rglob("*"))


def validation_loss(run) -> float:
    """The weighted loss over the validation clips, worked out in NumPy."""
    scale = loop.class_weights(run.class_counts)
    if not run.config.train.class_weights:
        scale = np.ones_like(scale)
    losses = []
    for inputs, labels in input_pipeline.evaluation_clips(
        run.validation, run.config
    ):
        logits = np.float64(run.model(inputs)["logits"])
        log = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        labels = labels.numpy()
        losses += list(-log[np.arange(len(labels)), labels] * scale[labels])
    return float(np.mean(losses))


@pytest.mark.parametrize("patience", [0, 3])
def test_early_stopping_gives_back_the_best_weights(data, tmp_path, patience):
    # The validation clips carry the wrong labels: learning makes it worse.
    wrong = features.write(
        tmp_path / "wrong.tfrecord", features.clips_of("w", LABELS, wrong=1)
    )
    settings = [f"train.patience={patience}", "train.epochs=20"]
    run, history = fit(
        data, tmp_path, assignments=settings, validation=files(wrong)
    )
    losses = [h["val_loss"] for h in history]
    best = int(np.argmin(losses))
    assert len(history) == best + 1 + max(patience, 1) < 20
    assert validation_loss(run) == pytest.approx(losses[best], rel=1e-5)
    assert losses[best] < losses[-1]


@pytest.mark.parametrize("weighed", [True, False])
def test_class_weights_reach_the_loss(data, tmp_path, weighed):
    settings = [
        f"train.class_weights={'true' if weighed else 'false'}",
        "train.epochs=1",
    ]
    run, history = fit(data, tmp_path, assignments=settings)
    assert validation_loss(run) == pytest.approx(
        history[0]["val_loss"], rel=1e-5
    )


def test_class_weights_by_hand():
    # 8 clips of two classes: 8 / (2 x 6) and 8 / (2 x 2); none of the third.
    found = loop.class_weights(np.array([6, 2, 0]))
    np.testing.assert_allclose(found, [2 / 3, 2.0, 1.0])
    assert found.dtype == np.float32
    assert found @ [6, 2, 0] == pytest.approx(8)


def test_without_validation_the_training_loss_decides(data, tmp_path):
    run, history = fit(data, tmp_path, validation=[])
    assert set(history[0]) == {"loss", "accuracy"}
    assert len(history) == 5
    best = min(range(5), key=lambda i: history[i]["loss"])
    meta = stored(tmp_path)["meta"].tobytes().decode()
    assert f'"best_epoch": {best},' in meta
    assert run.validation == []


def test_nothing_to_train_on(data, tmp_path):
    empty = features.write(
        tmp_path / "empty.tfrecord",
        [
            features.FeatureClip("no label", label_id=-1),
            features.FeatureClip("no face", times=()),
        ],
    )
    with pytest.raises(TrainingError) as e:
        fit(data, tmp_path, train=files(empty))
    assert str(e.value) == (
        "no clip to train on: none of the training records has both a face "
        "and a label"
    )


def scalars(folder) -> dict[str, dict[int, float]]:
    """Reads TensorBoard's event files: tag -> step -> value."""
    found = collections.defaultdict(dict)
    for path in sorted(pathlib.Path(folder).glob("events.out.tfevents.*")):
        for data in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = event_pb2.Event.FromString(data)
            for value in event.summary.value:
                assert event.step not in found[value.tag]
                number = float(tf.make_ndarray(value.tensor))
                found[value.tag][event.step] = number
    return dict(found)


def test_tensorboard_files_hold_the_figures(data, tmp_path):
    with pytest.raises(Killed):
        fit(data, tmp_path, kill_after=1)
    _, history = fit(data, tmp_path)
    for split, prefix in (("train", ""), ("validation", "val_")):
        found = scalars(tmp_path / "logs" / split)
        assert set(found) == {"loss", "accuracy"}
        for tag, values in found.items():
            wanted = [h[prefix + tag] for h in history]
            assert list(values) == [0, 1, 2, 3, 4]
            assert list(values.values()) == pytest.approx(wanted, rel=1e-6)


# The header of an event file is of some 40 bytes, an epoch of 200.
@pytest.mark.parametrize("size", [10, 150])
def test_a_log_on_a_full_disk_is_one_line(data, tmp_path, full_disk, size):
    with pytest.raises(Killed):
        fit(data, tmp_path, kill_after=1)
    before = stored(tmp_path)
    with full_disk(size), pytest.raises(TrainingError) as e:
        fit(data, tmp_path)
    message = str(e.value)
    logs = tmp_path / "logs"
    assert message.startswith(f"{logs}: the log cannot be written (")
    assert message.endswith(
        "); free some space and train again: it goes on from the last epoch"
    )
    assert "\n" not in message
    after = stored(tmp_path)
    assert after.keys() == before.keys()
    assert_equal(list(after.values()), list(before.values()))
    _, history = fit(data, tmp_path)
    assert len(history) == 5
