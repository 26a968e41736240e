"""The compiled pipeline is read back with every node, image and parameter."""

import json

import pytest
import yaml

from emorec.errors import ConfigError
from tfx_pipeline import kubeflow, settings

IMAGE = "registry.example.com/team/emorec:1.2"
VALUES = {
    "pipeline_name": "emotion_kfp",
    "pipeline_root": "gs://bucket/root",
    "serving_dir": "gs://bucket/serving/emotion",
    "input": {
        "base": "gs://bucket/clips",
        "manifest": "span-{SPAN}/labels.csv",
    },
    "config": {"train": {"epochs": 7}, "model": {"rnn_units": 16}},
    "evaluator": {"min_map": 0.25},
    "tuner": {"max_trials": 3},
    "beam_pipeline_args": ["--runner=DataflowRunner"],
}
NODES = {
    "ClipExampleGen",
    "StatisticsGen",
    "ImportSchemaGen",
    "ExampleValidator",
    "FeatureExtractor",
    "Tuner",
    "Trainer",
    "Evaluator",
    "ServableValidator",
    "Pusher",
    "BulkInferrer",
}


def compiled(tmp_path, name="pipeline.yaml", **changes):
    found = settings.resolve({**VALUES, **changes}, str(tmp_path))
    path = tmp_path / name
    kubeflow.compile_pipeline(found, IMAGE, path)
    return path


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    path = compiled(tmp_path_factory.mktemp("kfp"))
    return yaml.safe_load(path.read_text())


def parameters(spec, node):
    """Returns the constants that a task is given."""
    inputs = spec["root"]["dag"]["tasks"][node]["inputs"]["parameters"]
    return {
        name: value["runtimeValue"]["constant"]
        for name, value in inputs.items()
        if "runtimeValue" in value
    }


def test_every_node_is_there_and_waits_for_its_inputs(spec):
    tasks = spec["root"]["dag"]["tasks"]
    resolvers = {n for n in tasks if n.startswith("LastBlessed")}
    assert set(tasks) - resolvers == NODES
    assert resolvers
    for node, needs in (
        ("FeatureExtractor", {"ClipExampleGen", "ExampleValidator"}),
        ("Trainer", {"FeatureExtractor", "Tuner"}),
        ("Pusher", {"Trainer", "Evaluator", "ServableValidator"}),
    ):
        assert needs <= set(tasks[node]["dependentTasks"]), node


def test_every_container_is_the_given_image(spec):
    executors = spec["deploymentSpec"]["executors"]
    containers = {
        name: e["container"]
        for name, e in executors.items()
        if "container" in e
    }
    assert len(containers) == len(NODES)
    for name, container in containers.items():
        assert container["image"] == IMAGE, name
        assert "tfx" in " ".join(container["command"]), name
    beam = containers["ClipExampleGen_executor"]["args"]
    assert "--runner=DataflowRunner" in beam


def test_the_settings_are_the_parameters(spec):
    examples = parameters(spec, "ClipExampleGen")
    assert examples["input_base"] == "gs://bucket/clips"
    assert "span-{SPAN}/labels.csv" in json.dumps(examples)
    trainer = parameters(spec, "Trainer")
    assert trainer["run_fn"] == "tfx_pipeline.trainer.run_fn"
    custom = json.loads(trainer["custom_config"])
    assert custom["assignments"] == ["model.rnn_units=16", "train.epochs=7"]
    assert "0.25" in parameters(spec, "Evaluator")["eval_config"]
    assert "gs://bucket/serving/emotion" in json.dumps(
        parameters(spec, "Pusher")
    )
    assert (
        parameters(spec, "ImportSchemaGen")["schema_file"]
        == kubeflow.SCHEMA_IN_IMAGE
    )
    assert spec["pipelineInfo"]["name"] == "emotion-kfp"


def test_a_job_of_vertex_is_json(tmp_path):
    job = json.loads(compiled(tmp_path, "pipeline.json").read_text())
    assert job["pipelineSpec"]["pipelineInfo"]["name"] == "emotion-kfp"
    assert job["runtimeConfig"]["gcsOutputDirectory"] == "gs://bucket/root"


@pytest.mark.parametrize(
    "changes, image, name, message",
    [
        ({"pipeline_root": "here"}, IMAGE, "p.yaml", "`pipeline_root` must be"),
        ({"serving_dir": "here"}, IMAGE, "p.yaml", "`serving_dir` must be"),
        ({}, "a b", "p.yaml", "`--image` must be REGISTRY/NAME:TAG"),
        ({}, IMAGE, "p.txt", "`--output` must end in .yaml or .json"),
    ],
)
def test_what_cannot_run_there_is_refused(
    tmp_path, changes, image, name, message
):
    found = settings.resolve({**VALUES, **changes}, str(tmp_path))
    with pytest.raises(ConfigError, match=message) as caught:
        kubeflow.compile_pipeline(found, image, tmp_path / name)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / name).exists()
