"""The Trainer alone: run_fn under TFX's own executor."""

import contextlib
import json
import logging
import pathlib
import socket
import subprocess
import sys
import types

import numpy as np
import pytest
import tensorflow as tf
from testing import commands, feature_artifacts, s3
from tfx.components import Trainer
from tfx.components.trainer import executor
from tfx.proto import trainer_pb2
from tfx.types import standard_artifacts

from emorec.data import keys, records
from emorec.errors import ConfigError, EmorecError, ExportError, ModelError
from emorec.export import proof, saved_model
from emorec.features import feature_set
from emorec.models import presets
from emorec.training import bundle, checkpoint, train
from tfx_pipeline import trainer

pytest_plugins = ["testing.feature_fixtures"]

# It reads one of the feature set's two inputs.
SYSTEM = "face_rnn"
SMALL = [
    "model.encoder_units=8",
    "model.rnn_units=8",
    "train.batch_size=8",
    "train.epochs=2",
]


def run(features, root: pathlib.Path, execution: int, custom, **more):
    """Runs TFX's Trainer; returns its (model, model_run) folders."""
    inputs = {"examples": [features]}
    component = Trainer(
        examples=feature_artifacts.channel(features),
        run_fn="tfx_pipeline.trainer.run_fn",
        train_args=trainer_pb2.TrainArgs(splits=["train"]),
        eval_args=trainer_pb2.EvalArgs(splits=["train"]),
        custom_config=custom,
    )
    outputs = {}
    for name, kind in (
        ("model", standard_artifacts.Model),
        ("model_run", standard_artifacts.ModelRun),
    ):
        made = kind()
        made.uri = str(root / name / str(execution))
        pathlib.Path(made.uri).mkdir(parents=True)
        outputs[name] = [made]
    for name, (kind, place) in more.items():
        given = kind()
        given.uri = str(place)
        inputs[name] = [given]
    executor.GenericExecutor().Do(
        inputs, outputs, dict(component.spec.exec_properties)
    )
    return tuple(pathlib.Path(outputs[n][0].uri) for n in outputs)


@pytest.fixture(scope="module")
def ran(features_artifact, tmp_path_factory):
    """A run that was killed after its first epoch, then made again.

    The Tuner's best values are given too.
    """
    root = tmp_path_factory.mktemp("Trainer")
    best = root / "best"
    best.mkdir()
    values = {"space": [], "values": {"model.rnn_units": 6}}
    (best / "best_hyperparameters.txt").write_text(json.dumps(values))
    hyperparameters = (standard_artifacts.HyperParameters, best)
    custom = trainer.custom_config(SYSTEM, SMALL)

    save = checkpoint.save

    def save_and_die(*arguments):
        save(*arguments)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "save", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            run(
                features_artifact,
                root,
                1,
                custom,
                hyperparameters=hyperparameters,
            )
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = logging.getLogger("absl")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        model, model_run = run(
            features_artifact,
            root,
            2,
            custom,
            hyperparameters=hyperparameters,
        )
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    return types.SimpleNamespace(
        root=root,
        model=model / "Format-Serving",
        run=model_run,
        log="\n".join(lines),
    )


def test_a_killed_run_goes_on(features_artifact, ran, tmp_path):
    """To the very result of a run that was not killed."""
    assert not (ran.root / "model" / "1" / "Format-Serving").exists()
    assert "epoch 2:" in ran.log and "epoch 1:" not in ran.log
    features = feature_set.load(features_artifact.uri)
    config = train.training_config(
        features.data, SYSTEM, [*SMALL, "model.rnn_units=6"]
    )
    inputs = presets.inputs_of(config.model)
    made = train.train(
        features.data,
        tmp_path,
        config,
        features.encoders,
        sources=features.sources(inputs),
    )
    history = feature_artifacts.read(ran.run / "history.json")
    assert history == feature_artifacts.read(tmp_path / "history.json")
    assert len(history["epochs"]) == 2
    ours = bundle.load(ran.run / "model")
    for a, b in zip(ours.model.weights, made.model.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_a_run_leaves(ran):
    assert sorted(p.name for p in ran.run.iterdir()) == [
        "checkpoints",
        "history.json",
        "logs",
        "model",
        "predictions.json",
        "started.json",
    ]
    assert list((ran.run / "logs").glob("*/events*"))
    found = bundle.load(ran.run / "model")
    # The Tuner's best values go over the Trainer's own.
    assert found.config.model.rnn_units == 6
    assert found.config.model.encoder_units == 8
    # Told with its answers, and by the cards that a push carries along.
    calibration = found.info["calibration"]
    assert calibration["clips"] == found.info["validation"]["answered"] > 0
    card = (ran.model / "assets" / "model_card.md").read_text()
    assert f"temperature of {calibration['temperature']:.3g}, fitted" in card
    fingerprint = found.info["data"]["fingerprint"]
    card = (ran.model / "assets" / "data_card.md").read_text()
    assert card.startswith(f"# Data card: data set {fingerprint}\n")
    assert "frames with a face" in card


def test_the_saved_model_answers_as_the_model(prepared, features_artifact, ran):
    found = feature_artifacts.read(ran.run / "predictions.json")
    assert found["split"] == "validation"
    count = prepared.splits["validation"]["records"]
    assert len(found["clips"]) == min(count, 64) > 0
    served = tf.saved_model.load(str(ran.model))
    features = feature_set.load(features_artifact.uri)
    for path in features.data.files("validation"):
        examples = list(records.read(path))
        answers = served.signatures["feature_examples"](
            examples=tf.constant([e.SerializeToString() for e in examples])
        )["probabilities"].numpy()
        for example, answer in zip(examples, answers, strict=True):
            ours = found["clips"][records.one(example, keys.CLIP_ID)]
            np.testing.assert_allclose(ours, answer, atol=1e-5)
    assert set(served.signatures) >= {"serving_default", "jpegs", "features"}


def test_a_warm_start_takes_the_weights(features_artifact, ran):
    """From the SavedModel alone, as a push carries it along."""
    features = feature_set.load(features_artifact.uri)
    base = trainer.trained.read_base(str(ran.model), features)
    ours = bundle.load(ran.run / "model")
    assert base.info["run"] == ours.info["run"]
    for a, b in zip(base.model.weights, ours.model.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_foreign_base_is_one_line(features_artifact, tmp_path):
    features = feature_set.load(features_artifact.uri)
    with pytest.raises(ModelError, match="no base for a warm start") as e:
        trainer.trained.read_base(str(tmp_path), features)
    assert str(tmp_path) in str(e.value) and "\n" not in str(e.value)


@pytest.mark.long
def test_a_model_that_answers_otherwise_is_not_exported(
    ran, tmp_path, monkeypatch
):
    monkeypatch.setattr(proof, "TOLERANCE", -1.0)
    made = bundle.load(ran.run / "model", use_cudnn=False)
    with pytest.raises(ExportError, match="differs by"):
        saved_model.write_to(made, tmp_path / "model" / "Format-Serving")
    assert not list((tmp_path / "model").iterdir())


def test_an_export_is_not_written_over(ran):
    with pytest.raises(ExportError, match="exists already") as e:
        saved_model.write_to(
            bundle.load(ran.run / "model"), ran.model, batch_sizes=()
        )
    assert str(ran.model) in str(e.value)


def fn_args(features, root, custom, **more):
    """TFX's arguments, as far as run_fn reads them."""
    values = {
        "train_files": [f"{features.uri}/Split-train/*"],
        "model_run_dir": str(root / "model_run" / "1"),
        "serving_model_dir": str(root / "model" / "1" / "Format-Serving"),
        "custom_config": custom,
        "hyperparameters": None,
        "base_model": None,
    }
    return types.SimpleNamespace(**{**values, **more})


def test_another_run_is_not_taken_up(features_artifact, ran, tmp_path):
    """Not with another seed; not a finished one; each by itself is."""
    custom = trainer.custom_config(SYSTEM, SMALL)
    custom["assignments"].append("model.rnn_units=6")
    features = feature_set.load(features_artifact.uri)

    def begun(execution, **changes):
        made = trainer._Run(
            {**custom, **changes},
            features,
            None,
            str(ran.root / "model_run" / execution),
            tf.distribute.get_strategy(),
        )
        trainer._begin(made.folder, made.identity)
        return pathlib.Path(made.folder) / "checkpoints" / checkpoint.FILE

    assert not begun("11", seed=1).exists()
    assert not begun("12", code="0123456789abcdef").exists()
    taken = begun("13")
    first = ran.root / "model_run" / "1" / "checkpoints" / checkpoint.FILE
    assert taken.read_bytes() == first.read_bytes()


def test_the_config_of_tfx_says_what_made_the_model(monkeypatch):
    first = trainer.custom_config(SYSTEM, SMALL)
    assert trainer.custom_config(SYSTEM, SMALL) == first
    assert json.loads(json.dumps(first)) == first
    other = trainer.custom_config(SYSTEM, ["model.dropout=0.1"])
    assert other["config"] != first["config"]
    monkeypatch.setattr(trainer, "code_hash", lambda *parts: "edited")
    assert trainer.custom_config(SYSTEM, SMALL)["code"] == "edited"
    for part in trainer._CODE:
        assert (commands.ROOT / part).exists(), part


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("caca",), "caca_rnn_a"),
        ((SYSTEM, ["model.units=3"]), "fields of model"),
        ((SYSTEM, ["model.dropout=2"]), "`model.dropout` must be 0 to"),
        ((SYSTEM, ["clip.crop_size=64"]), "how the records were made"),
    ],
)
def test_wrong_settings_are_refused_before_any_run(arguments, message):
    with pytest.raises(ConfigError, match=message) as e:
        trainer.custom_config(*arguments)
    assert "\n" not in str(e.value)


def test_members_belong_to_an_ensemble():
    with pytest.raises(ConfigError, match="`members` are for the system ens"):
        trainer.custom_config(SYSTEM, members=["cnn_2d3d"])
    with pytest.raises(ConfigError, match="must not be ensembles"):
        trainer.custom_config("ensemble", members=["ensemble"])
    made = trainer.custom_config("ensemble")
    assert made["members"] == list(presets.PAPER_MEMBERS)


@pytest.mark.parametrize(
    "more, message",
    [
        ({"custom_config": {"system": SYSTEM}}, "`assignments` must be"),
        ({"train_files": []}, "training reads one output of"),
        ({"train_files": ["a/Split-train/*", "b/Split-train/*"]}, "a, b"),
        ({"train_files": ["a/Split-train/*"]}, "run the FeatureExtractor"),
    ],
)
def test_wrong_arguments_are_one_line(
    features_artifact, tmp_path, more, message
):
    custom = trainer.custom_config(SYSTEM, SMALL)
    with pytest.raises(EmorecError, match=message) as e:
        trainer.run_fn(fn_args(features_artifact, tmp_path, custom, **more))
    assert "\n" not in str(e.value)
    assert not (tmp_path / "model").exists()


def test_an_input_that_was_not_extracted(features_artifact, tmp_path):
    custom = trainer.custom_config("cnn_2d3d", ["train.epochs=1"])
    with pytest.raises(ConfigError, match="do not hold 'face_maps'"):
        trainer.run_fn(fn_args(features_artifact, tmp_path, custom))


@pytest.mark.long
def test_an_ensemble(features_artifact, tmp_path):
    names = ["face_rnn", "context_rnn"]
    custom = trainer.custom_config("ensemble", SMALL, members=names)
    given = fn_args(features_artifact, tmp_path, custom)
    trainer.run_fn(given)
    made = bundle.load(pathlib.Path(given.model_run_dir) / "model")
    assert [m.system for m in made.members] == names
    members = pathlib.Path(given.model_run_dir) / "members"
    assert sorted(p.name for p in members.iterdir()) == sorted(names)
    assert (pathlib.Path(given.serving_model_dir) / "saved_model.pb").exists()


@pytest.mark.long
def test_a_run_with_a_warm_start(features_artifact, ran, tmp_path):
    custom = trainer.custom_config(
        SYSTEM, [*SMALL, "model.rnn_units=6"], warm_start=True
    )
    given = fn_args(
        features_artifact, tmp_path, custom, base_model=str(ran.model)
    )
    trainer.run_fn(given)
    first = feature_artifacts.read(ran.run / "history.json")["epochs"]
    second = feature_artifacts.read(
        pathlib.Path(given.model_run_dir) / "history.json"
    )["epochs"]
    assert second[0]["loss"] < first[0]["loss"]


_RUN = """
import json, sys, types
from emorec.data import files
from tfx_pipeline import trainer
features, root, custom = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
if "://" in root:
    files.copy_tree(features, files.join(root, "features/1"))
    features = files.join(root, "features/1")
trainer.run_fn(types.SimpleNamespace(
    train_files=[files.join(features, "Split-train/*")],
    model_run_dir=files.join(root, "model_run/2"),
    serving_model_dir=files.join(root, "model/2/Format-Serving"),
    custom_config=custom, hyperparameters=None, base_model=None,
))
"""


@pytest.mark.long
def test_two_workers_make_one_model(features_artifact, ran, tmp_path):
    """Both end well, the chief alone has written; the losses are the same."""
    custom = trainer.custom_config(SYSTEM, [*SMALL, "model.rnn_units=6"])
    custom["assignments"].append("model.dropout=0")
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        hosts = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    with contextlib.ExitStack() as stack:
        workers = []
        for index in range(2):
            task = {"type": "worker", "index": index}
            cluster = {"cluster": {"worker": hosts}, "task": task}
            line = [features_artifact.uri, str(tmp_path), json.dumps(custom)]
            log = stack.enter_context(open(tmp_path / f"{index}.log", "w+"))
            worker = subprocess.Popen(
                [sys.executable, "-c", _RUN, *line],
                env={
                    **commands.environment(),
                    "TF_CONFIG": json.dumps(cluster),
                },
                stderr=log,
            )
            stack.callback(worker.kill)
            workers.append((worker, log))
        for worker, log in workers:
            code = worker.wait(timeout=500)
            log.seek(0)
            assert code == 0, log.read()
    both = feature_artifacts.read(tmp_path / "model_run/2/history.json")
    (tmp_path / "one").mkdir()
    given = fn_args(features_artifact, tmp_path / "one", custom)
    trainer.run_fn(given)
    one = feature_artifacts.read(
        pathlib.Path(given.model_run_dir) / "history.json"
    )
    for ours, theirs in zip(both["epochs"], one["epochs"], strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)
    model = tmp_path / "model" / "2"
    assert [p.name for p in model.iterdir()] == ["Format-Serving"]
    assert (model / "Format-Serving" / "saved_model.pb").exists()


@pytest.mark.long
def test_everything_on_s3(features_artifact, ran, tmp_path):
    """The same model, from features there to a SavedModel there."""
    custom = trainer.custom_config(SYSTEM, [*SMALL, "model.rnn_units=6"])
    with s3.s3_server() as server:
        server.python(
            _RUN, features_artifact.uri, server.url, json.dumps(custom)
        )
        found = set(server.keys("model"))
        history = json.loads(server.get("model_run/2/history.json"))
        for key in server.keys("model/2/Format-Serving/"):
            place = tmp_path / key.removeprefix("model/2/Format-Serving/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(server.get(key))
    assert history == feature_artifacts.read(ran.run / "history.json")
    assert found >= {
        f"model_run/2/{name}"
        for name in (
            "checkpoints/last.npz",
            "model/model.json",
            "predictions.json",
            "started.json",
        )
    }
    assert any(key.startswith("model_run/2/logs/train/") for key in found)
    base = trainer.trained.read_base(
        str(tmp_path), feature_set.load(features_artifact.uri)
    )
    ours = bundle.load(ran.run / "model")
    for a, b in zip(base.model.weights, ours.model.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    assert "feature_examples" in tf.saved_model.load(str(tmp_path)).signatures
