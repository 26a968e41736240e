"""A pipeline of the real node ids whose nodes only say that they worked.

TFX's LocalDagRunner, Resolver, Pusher and ML Metadata are the real ones; the
others write what the real ones write, as far as somebody reads it there. All
paths are relative, so that a copy of the folder is a pipeline of its own.
"""

import contextlib
import dataclasses
import json
import pathlib
import shutil

import tensorflow as tf
from tfx import v1 as tfx
from tfx.dsl.component.experimental.annotations import (
    InputArtifact,
    OutputArtifact,
    Parameter,
)
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts

from emorec import labels
from emorec.config import Config
from emorec.data import dataset, keys, records
from emorec.errors import ModelError
from tfx_pipeline import artifacts, metadata_store, resolvers, run_list
from tfx_pipeline.components.version_pusher import VersionPusher

NAME = "tiny"
METADATA, ROOT, SERVING = "metadata.sqlite", "root", "serving/emotion"
NODES = [
    "ClipExampleGen",
    "StatisticsGen",
    "PreviousStatistics",
    "FeatureExtractor",
    "Trainer",
    "LastBlessed",
    "Evaluator",
    "ServableValidator",
    "Pusher",
]
REFUSED = "signature jpegs differs by 0.2"
# Split -> videos; the records of frames and of features name them.
VIDEOS = {"train": ("a.mp4", "b.mp4", "b.mp4"), "test": ("c.mp4",)}


def _data_set(uri: str, suffix: str):
    """Writes records and their `dataset.json`."""
    splits = {}
    for split, videos in VIDEOS.items():
        name = f"Split-{split}/{split}-00000-of-00001{suffix}"
        count = records.write(f"{uri}/{name}", map(_example, videos))
        splits[split] = {
            "files": [name],
            "rows": len(set(videos)),
            "records": count,
            "frames_total": 8,
            "frames_with_face": 8,
            "labels": {"happy": len(set(videos))},
        }
    dataset.Dataset(
        path=uri,
        config=Config(),
        labels=labels.resolve("mec2017"),
        splits=splits,
        failures=[
            {"line": 5, "video": "d.mp4", "split": "train", "reason": "cut"}
        ],
        sources={"web": 3},
        fingerprint="f" * 16,
    ).write()


def _example(video: str) -> tf.train.Example:
    values = {
        keys.VIDEO_PATH: video,
        keys.VIDEO_SHA256: f"sha-of-{video}",
        keys.CLIP_LABEL: "happy",
    }
    feature = {
        k: tf.train.Feature(bytes_list=tf.train.BytesList(value=[v.encode()]))
        for k, v in values.items()
    }
    return tf.train.Example(features=tf.train.Features(feature=feature))


@component
def ClipExampleGen(
    examples: OutputArtifact[standard_artifacts.Examples],
    dead_letters: OutputArtifact[artifacts.DeadLetters],
    input_base: Parameter[str],
    input_config: Parameter[str],
    labels: Parameter[str],
    code: Parameter[str],
):
    _data_set(examples.uri, ".tfrecord")
    examples.set_int_custom_property("span", 3)
    examples.set_string_custom_property("input_fingerprint", "abc")
    dead_letters.set_int_custom_property("failed", 1)
    dead_letters.set_int_custom_property("rows", 4)


@component
def StatisticsGen(
    examples: InputArtifact[standard_artifacts.Examples],
    statistics: OutputArtifact[standard_artifacts.ExampleStatistics],
):
    pass


@component
def FeatureExtractor(
    examples: InputArtifact[standard_artifacts.Examples],
    features: OutputArtifact[standard_artifacts.Examples],
    code: Parameter[str],
):
    _data_set(features.uri, ".tfrecord.gz")
    features.set_string_custom_property("encoder_hash", "e1")
    features.set_string_custom_property("random_weights", "face,context")
    told = {"encoders": {"face": {"id": "mini_xception", "hash": "e1"}}}
    pathlib.Path(features.uri, "features.json").write_text(json.dumps(told))


@component
def Trainer(
    examples: InputArtifact[standard_artifacts.Examples],
    model: OutputArtifact[standard_artifacts.Model],
    custom_config: Parameter[str],
    base_model: InputArtifact[standard_artifacts.Model] = None,
):
    given = json.loads(custom_config)
    if given.get("fault") == "fail":
        raise ModelError("the loss is not finite")
    if given.get("fault") == "kill":
        raise KeyboardInterrupt
    folder = pathlib.Path(model.uri, "Format-Serving")
    (folder / "variables").mkdir(parents=True)
    (folder / "variables" / "variables.index").write_bytes(b"index")
    data = folder / "variables" / "variables.data-00000-of-00001"
    data.write_bytes(b"values")
    (folder / "saved_model.pb").write_text(f"model of seed {given['seed']}")


@component
def Evaluator(
    model: InputArtifact[standard_artifacts.Model],
    evaluation: OutputArtifact[standard_artifacts.ModelEvaluation],
    blessing: OutputArtifact[standard_artifacts.ModelBlessing],
    bless: Parameter[int],
    baseline_model: InputArtifact[standard_artifacts.Model] = None,
):
    blessing.set_int_custom_property("blessed", bless)
    blessing.set_int_custom_property("current_model_id", model.id)


@component
def ServableValidator(
    model: InputArtifact[standard_artifacts.Model],
    blessing: OutputArtifact[standard_artifacts.InfraBlessing],
    bless: Parameter[int],
):
    blessing.set_int_custom_property("blessed", bless)
    if not bless:
        blessing.set_string_custom_property("reason", REFUSED)


def _latest_blessed(name, **candidate):
    return tfx.dsl.Resolver(
        strategy_class=resolvers.LatestBlessed,
        model=tfx.dsl.Channel(type=standard_artifacts.Model),
        model_blessing=tfx.dsl.Channel(type=standard_artifacts.ModelBlessing),
        **candidate,
    ).with_id(name)


def _nodes(given: dict, blessings: tuple[int, int], push: bool) -> list:
    examples = ClipExampleGen(
        input_base="clips",
        input_config=json.dumps(
            {"splits": [{"name": "manifest", "pattern": "labels.csv"}]}
        ),
        labels="mec2017",
        code="c1",
    )
    counts = StatisticsGen(examples=examples.outputs["examples"])
    previous = tfx.dsl.Resolver(
        strategy_class=resolvers.LatestValid,
        candidate=counts.outputs["statistics"],
        others=tfx.dsl.Channel(type=standard_artifacts.ExampleStatistics),
    ).with_id("PreviousStatistics")
    features = FeatureExtractor(
        examples=examples.outputs["examples"], code="c2"
    )
    bases, more = [], {}
    if given["warm_start"]:
        bases = [_latest_blessed("BaseModel")]
        more = {"base_model": bases[0].outputs["model"]}
    trainer = Trainer(
        examples=features.outputs["features"],
        custom_config=json.dumps(given),
        **more,
    )
    model = trainer.outputs["model"]
    baseline = _latest_blessed("LastBlessed", candidate=model)
    evaluator = Evaluator(
        model=model,
        baseline_model=baseline.outputs["model"],
        bless=blessings[0],
    )
    validator = ServableValidator(model=model, bless=blessings[1])
    nodes = [examples, counts, previous, features, *bases, trainer, baseline]
    nodes += [evaluator, validator]
    if push:
        nodes.append(_pusher(model, evaluator, validator))
    return nodes


def _pusher(model, evaluator, validator):
    made = VersionPusher(
        model=model,
        model_blessing=evaluator.outputs["blessing"],
        infra_blessing=validator.outputs["blessing"],
        push_destination=tfx.proto.PushDestination(
            filesystem=tfx.proto.PushDestination.Filesystem(
                base_directory=SERVING
            )
        ),
    )
    return made.with_id("Pusher")


@dataclasses.dataclass
class World:
    """A pipeline in a folder, in which everything is to be done.

    Attributes:
        folder: The folder; be in it, for all paths are relative.
        ids: The runs by the names that tests call them.
    """

    folder: pathlib.Path
    ids: dict[str, str] = dataclasses.field(default_factory=dict)

    def run(
        self,
        name: str,
        seed: int,
        *,
        blessings: tuple[int, int] = (1, 1),
        fault: str = "",
        warm_start: bool = False,
        push: bool = True,
    ) -> None:
        """Runs the pipeline; an error of a node comes through.

        Args:
            name: What tests call the run.
            seed: Names the model.
            blessings: Of Evaluator and ServableValidator.
            fault: `fail` or `kill` ends the Trainer.
            warm_start: Begin from the last blessed model.
            push: Whether there is a Pusher.
        """
        given = {
            "system": "caca_rnn_a",
            "assignments": ["train.epochs=3"],
            "seed": seed,
            "warm_start": warm_start,
            "code": "c3",
            "config": "h1",
            "fault": fault,
        }
        made = tfx.dsl.Pipeline(
            pipeline_name=NAME,
            pipeline_root=ROOT,
            components=_nodes(given, blessings, push),
            enable_cache=True,
            metadata_connection_config=(
                tfx.orchestration.metadata.sqlite_metadata_connection_config(
                    METADATA
                )
            ),
        )
        with contextlib.chdir(self.folder):
            try:
                tfx.orchestration.LocalDagRunner().run(made)
            finally:
                with metadata_store.opened(METADATA) as store:
                    self.ids[name] = run_list.runs(store, NAME, 1)[0].id

    def copied(self, folder: pathlib.Path) -> "World":
        """Returns a copy, for a test that changes something."""
        shutil.copytree(self.folder, folder)
        return World(folder, dict(self.ids))

    @property
    def versions(self) -> list[int]:
        """The folders of the base path that are named by a number."""
        names = (p.name for p in (self.folder / SERVING).iterdir())
        return sorted(int(n) for n in names if n.isdigit())


def history(folder: pathlib.Path) -> World:
    """Runs the pipeline in all the ways that there are to tell of."""
    world = World(folder)
    world.run("first", 1)
    world.run("same", 1)
    world.run("second", 2, warm_start=True)
    world.run("worse", 3, blessings=(0, 1))
    world.run("unservable", 4, blessings=(1, 0))
    with contextlib.suppress(ModelError):
        world.run("failed", 5, fault="fail")
    with contextlib.suppress(KeyboardInterrupt):
        world.run("killed", 6, fault="kill")
    return world
