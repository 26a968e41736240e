"""From a data set to a model folder, with the real network."""

import dataclasses
import json

import numpy as np
import pytest

from emorec.config import Config
from emorec.errors import ConfigError, RecordError, TrainingError
from emorec.labels import LabelSet
from emorec.training import bundle, train

# As `model_dir` of the session was trained.
SETTINGS = ("train.epochs=3", "train.batch_size=8")


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def config(prepared) -> Config:
    return train.training_config(prepared, "caca_rnn_a", SETTINGS)


def test_a_killed_run_ends_as_the_whole_one(
    prepared, encoders, config, model_dir, tmp_path
):
    """Killed twice; the model is that of the same seed, bit for bit."""
    before, progress, epochs = bundle.load(model_dir), [], []

    def kill(epoch, _):
        epochs.append(epoch)
        raise Killed

    for _ in range(2):
        with pytest.raises(Killed):
            train.train(
                prepared,
                tmp_path,
                config,
                encoders,
                on_features=lambda *step: progress.append(step),
                on_epoch=kill,
            )
        assert not (tmp_path / bundle.FILE).exists()
    made = train.train(
        prepared,
        tmp_path,
        config,
        encoders,
        on_epoch=lambda epoch, _: epochs.append(epoch),
    )
    assert epochs == [0, 1, 2]
    # One shard a split, for each of two streams.
    once = [(s, i, 2) for s in ("train", "validation") for i in (1, 2)]
    assert progress == once * 2
    for a, b in zip(made.model.weights, before.model.weights):
        np.testing.assert_array_equal(a, b)
    assert made.info == before.info
    history = json.loads((tmp_path / "history.json").read_text())["epochs"]
    assert len(history) == 3
    assert history[made.info["best_epoch"]] == made.info["best"]
    assert made.info["best"]["val_loss"] == min(h["val_loss"] for h in history)


def test_a_trained_model_is_not_trained_over(
    prepared, encoders, config, model_dir
):
    before = (model_dir / bundle.FILE).read_bytes()
    with pytest.raises(TrainingError) as e:
        train.train(prepared, model_dir, config, encoders)
    assert str(e.value) == (
        f"{model_dir}: holds a trained model; choose another --output_dir, "
        "or give --overwrite"
    )
    assert (model_dir / bundle.FILE).read_bytes() == before


def test_overwrite_removes_only_what_is_ours(
    prepared, encoders, config, tmp_path
):
    names = ("model.json", "model.weights.h5", "history.json")
    for name in (*names, "checkpoints/last.npz", "logs/train/x", "mine.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    train._claim(tmp_path, tmp_path, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_the_name_of_a_run_covers_what_decides_it(prepared, encoders, config):
    name = train.run_name(prepared, config, encoders, 0)
    others = [
        train.run_name(prepared, config, encoders, 1),
        train.run_name(
            prepared, config.override(["model.dropout=0.1"]), encoders, 0
        ),
        train.run_name(
            prepared, config.override(["train.epochs=4"]), encoders, 0
        ),
        train.run_name(
            dataclasses.replace(prepared, fingerprint="0" * 16),
            config,
            encoders,
            0,
        ),
        train.run_name(
            prepared,
            config,
            dataclasses.replace(encoders, face=encoders.context),
            0,
        ),
        train.run_name(
            dataclasses.replace(
                prepared,
                labels=LabelSet("x", prepared.labels.names[::-1]),
            ),
            config,
            encoders,
            0,
        ),
    ]
    assert len({name, *others}) == 7
    moved = dataclasses.replace(prepared, path="/elsewhere")
    faster = config.override(["features.batch_frames=8"])
    assert train.run_name(moved, faster, encoders, 0) == name


def test_data_that_do_not_fit_are_refused(prepared, encoders, config, tmp_path):
    with pytest.raises(ConfigError) as e:
        train.train(
            prepared, tmp_path, config.override(["video.fps=4"]), encoders
        )
    assert str(e.value) == (
        f"{prepared.path}: its records do not fit this training config: "
        "video.fps is 8.0, not 4.0; prepare the videos again with the "
        "model's config"
    )
    assert not any(tmp_path.iterdir())


def test_a_data_set_without_training_clips(
    prepared, encoders, config, tmp_path
):
    splits = {"test": prepared.splits["test"]}
    with pytest.raises(RecordError) as e:
        train.train(
            dataclasses.replace(prepared, splits=splits),
            tmp_path,
            config,
            encoders,
        )
    assert str(e.value) == (
        f"{prepared.path}: no records of the split 'train'; it has test"
    )


def test_the_config_of_a_run(prepared):
    made = train.training_config(
        prepared, "caca_rnn_b", ["train.epochs=7", "video.max_pixels=9"]
    )
    assert made.model.system == "caca_rnn_b"
    assert made.train.epochs == 7
    assert made.data_hash() == prepared.config.data_hash()
    with pytest.raises(ConfigError, match="`system` must be one of"):
        train.training_config(prepared, "caca_rnn_c", [])
    with pytest.raises(ConfigError) as e:
        train.training_config(prepared, "caca_rnn_a", ["clip.face_margin=1"])
    assert str(e.value) == (
        "`--set` of `train` must not change how the records were made. "
        "Received: clip.face_margin=1; give it to `emorec prepare`"
    )
