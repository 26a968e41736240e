"""The members of an ensemble: trained once, and refused before any work."""

import dataclasses
import pathlib

import numpy as np
import pytest

from emorec.errors import ConfigError, ModelError, TrainingError
from emorec.features.encoders import Encoders
from emorec.features.precomputed import Precomputed
from emorec.labels import LabelSet
from emorec.models import presets
from emorec.training import bundle, members, train

NAMES = ("face_rnn", "majority")


@dataclasses.dataclass
class Setting:
    """Obtains members of `prepared`, and counts the epochs of training."""

    data: object
    encoders: Encoders
    epochs: int = 0

    def config(self, system):
        settings = ["train.epochs=1", "model.rnn_units=4"]
        return train.training_config(self.data, system, settings)

    def on_epoch(self, *_):
        self.epochs += 1

    def obtain(self, names, folder, **changes):
        arguments = {"seed": 0, "on_epoch": self.on_epoch, **changes}
        encoders = arguments.pop("encoders", self.encoders)
        return members.obtain(
            names, self.data, folder, self.config, encoders, **arguments
        )

    def refused(self, names, folder, error=ConfigError, **changes) -> str:
        """Returns the message; nothing may have been trained before it."""
        with pytest.raises(error) as e:
            self.obtain(names, folder, **changes)
        assert self.epochs == 0
        assert not (folder / members.FOLDER).exists()
        assert "\n" not in str(e.value)
        return str(e.value)


@pytest.fixture
def setting(prepared, encoders) -> Setting:
    return Setting(prepared, encoders)


@pytest.fixture(scope="module")
def ensemble(prepared, encoders, tmp_path_factory) -> pathlib.Path:
    """An ensemble's model folder with its two members; read-only."""
    folder = tmp_path_factory.mktemp("ensemble")
    setting = Setting(prepared, encoders)
    made = setting.obtain(NAMES, folder)
    assert setting.epochs == 1  # Nothing else is trained by a gradient.
    train.train(
        prepared,
        folder,
        setting.config(presets.ENSEMBLE),
        members.encoders_of(made),
        members=made,
    )
    return folder


@pytest.fixture(scope="module")
def face_rnn(ensemble) -> str:
    """The model folder of a member."""
    return str(ensemble / members.FOLDER / "face_rnn")


def altered(face_rnn, folder, **changes) -> str:
    """Saves a member of which something is another."""
    dataclasses.replace(bundle.load(face_rnn), **changes).save(folder)
    return str(folder)


def times(folder) -> list[int]:
    places = [folder / members.FOLDER / n / bundle.WEIGHTS for n in NAMES]
    return [place.stat().st_mtime_ns for place in places]


def test_the_weights_of_the_members_sum_to_1(ensemble):
    made = bundle.load(ensemble)
    assert [m["system"] for m in made.info["members"]] == list(NAMES)
    weights = [m["weight"] for m in made.info["members"]]
    assert sum(weights) == pytest.approx(1) and min(weights) >= 0
    np.testing.assert_allclose(made.model.member_weights, weights, rtol=1e-6)


def test_a_finished_member_is_not_trained_again(setting, ensemble):
    before = times(ensemble)
    made = setting.obtain(NAMES[::-1], ensemble)
    assert [m.system for m in made] == list(NAMES[::-1])
    assert setting.epochs == 0 and times(ensemble) == before


def test_overwrite_trains_again(setting, tmp_path):
    first = setting.obtain(NAMES, tmp_path)
    before = times(tmp_path)
    again = setting.obtain(NAMES, tmp_path, overwrite=True)
    assert setting.epochs == 2
    assert all(a > b for a, b in zip(times(tmp_path), before, strict=True))
    for a, b in zip(again, first, strict=True):
        assert a.info == b.info


def test_one_member_and_a_folder(setting, face_rnn, tmp_path):
    (made,) = setting.obtain(["majority"], tmp_path)
    assert made.system == "majority"
    assert (
        made.info["run"]
        == bundle.load(tmp_path / members.FOLDER / "majority").info["run"]
    )
    there, same = setting.obtain([face_rnn, "majority"], tmp_path)
    assert there.system == "face_rnn" and there.info["run"] != made.info["run"]
    assert same.info == made.info and setting.epochs == 0


def test_no_members(setting, tmp_path):
    assert setting.refused([], tmp_path) == (
        "an ensemble needs members: ids of systems or model folders"
    )


def test_an_unknown_member(setting, tmp_path):
    assert setting.refused(["face_rnn", "face_rn"], tmp_path) == (
        "a member must be a system's id (face_rnn, context_rnn, "
        "parallel_rnn, concatenated_rnn, caca_rnn_a, caca_rnn_b, "
        "caca_rnn_mec2017, cnn_2d3d, face_average, majority) or a model "
        "folder. Received: 'face_rn'"
    )


def test_an_ensemble_as_a_member(setting, ensemble, tmp_path):
    assert setting.refused(["face_rnn", "ensemble"], tmp_path) == (
        "the members of an ensemble must not be ensembles themselves. "
        "Received: face_rnn, ensemble"
    )
    assert setting.refused(["face_rnn", str(ensemble)], tmp_path) == (
        f"{ensemble}: holds an ensemble, and the members of an ensemble must "
        "not be ensembles themselves; name its members instead"
    )


def test_a_folder_without_a_model(setting, tmp_path):
    message = setting.refused(["face_rnn", str(tmp_path)], tmp_path, ModelError)
    assert message.startswith(f"{tmp_path}/model.json: no trained model (")


def test_a_member_of_other_encoders(setting, face_rnn, tmp_path):
    encoders = Encoders(Precomputed("others", 128))
    other = altered(face_rnn, tmp_path / "other", encoders=encoders)
    ours = setting.encoders.face.hash
    message = (
        "the members have different face encoders: train them with one. "
        "Received: {}"
    )
    pair = f"precomputed {encoders.face.hash} and mini_xception {ours}"
    assert setting.refused([other, face_rnn], tmp_path) == message.format(pair)
    # What is to be trained counts as well.
    assert setting.refused([other, "face_rnn"], tmp_path) == message.format(
        pair
    )
    # The one that reads no face does not.
    assert len(setting.obtain([other, "majority"], tmp_path)) == 2


def test_a_member_of_other_labels(setting, face_rnn, tmp_path):
    names = setting.data.labels.names
    labels = LabelSet("x", names[::-1])
    other = altered(face_rnn, tmp_path / "other", labels=labels)
    assert setting.refused([face_rnn, other], tmp_path) == (
        "the members face_rnn and face_rnn differ in their labels: train both "
        f"on one data set. Received: {names} and {names[::-1]}"
    )
    assert setting.refused(["majority", other], tmp_path) == (
        f"{setting.data.path}: its labels ({', '.join(names)}) are not those "
        f"of the member {other} ({', '.join(names[::-1])}); prepare the "
        "videos again with the model's labels"
    )


def test_a_member_of_another_config(setting, face_rnn, tmp_path):
    config = bundle.load(face_rnn).config
    slower = config.override(["video.fps=4"])
    other = altered(face_rnn, tmp_path / "other", config=slower)
    assert setting.refused([other, face_rnn], tmp_path) == (
        "the members face_rnn and face_rnn differ in their config of the data: "
        f"train both on one data set. Received: {slower.data_hash()} and "
        f"{config.data_hash()}"
    )
    assert setting.refused(["majority", other], tmp_path) == (
        f"{setting.data.path}: its records do not fit the member {other}: "
        "video.fps is 8.0, not 4.0; prepare the videos again with the "
        "model's config"
    )


def test_an_encoder_that_a_member_lacks(setting, tmp_path):
    alone = Encoders(face=setting.encoders.face)
    message = setting.refused(
        ["face_rnn", "context_rnn"], tmp_path, encoders=alone
    )
    assert message.startswith("an encoder of the context stream is needed")


def test_a_place_that_holds_another_run(setting, tmp_path):
    setting.obtain(["majority"], tmp_path)
    with pytest.raises(TrainingError) as e:
        setting.obtain(NAMES, tmp_path, seed=1)
    assert str(e.value) == (
        f"{tmp_path / members.FOLDER / 'majority'}: holds a member with "
        "another config, data set, encoder or seed; choose another "
        "--output_dir, or give --overwrite"
    )
    assert setting.epochs == 0
