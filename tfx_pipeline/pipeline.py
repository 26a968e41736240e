"""The pipeline, from videos to a pushed model.

ClipExampleGen ── StatisticsGen ── ExampleValidator ┐ (ImportSchemaGen)
      └────────── FeatureExtractor ─┬─ [Tuner] ─ Trainer
                                    │      ┌────────┘
                LastBlessed ─── Evaluator ─┤
                                    ServableValidator
                                           │
                    [BulkInferrer]      Pusher
"""

import dataclasses
import os
import pathlib

import tensorflow_model_analysis as tfma
from tfx import v1 as tfx
from tfx.proto import infra_validator_pb2, range_config_pb2
from tfx.types import standard_artifacts

from emorec import labels as label_sets
from emorec.config import Config, short_hash
from emorec.data import files, mixing
from emorec.errors import ConfigError
from emorec.models import presets
from tfx_pipeline import (
    evaluation,
    resolvers,
    schema,
    servable_server,
    statistics,
    trainer,
    tuner_space,
)
from tfx_pipeline.components.clip_evaluator import ClipEvaluator
from tfx_pipeline.components.clip_example_gen import ClipExampleGen
from tfx_pipeline.components.clip_inferrer import ClipInferrer
from tfx_pipeline.components.example_validator import StrictExampleValidator
from tfx_pipeline.components.feature_extractor import FeatureExtractor
from tfx_pipeline.components.servable_validator import ServableValidator
from tfx_pipeline.components.version_pusher import VersionPusher
from tfx_pipeline.settings import Settings

# The committed schema, of the labels of MEC 2017.
SCHEMA_FILE = os.path.join(os.path.dirname(__file__), "schema/schema.pbtxt")
RUN_FN = "tfx_pipeline.trainer.run_fn"
TUNER_FN = "tfx_pipeline.tuner.tuner_fn"


def create(settings: Settings, *, managed: bool = False) -> tfx.dsl.Pipeline:
    """Returns the pipeline of some settings.

    Args:
        settings: With absolute paths.
        managed: For a runner that knows TFX's own resolver strategies alone
            (Kubeflow, Vertex). Then drift is not looked at, and the baseline
            is the latest blessed model, whichever it is.

    Raises:
        EmorecError: The settings do not fit together.
    """
    inputs = _inputs(settings)
    mixing.parse(settings.full_config().train.source_weights)
    config = settings.full_config().to_dict()
    examples, checks = _examples(settings, managed)
    extractor = FeatureExtractor(
        examples=examples.outputs["examples"],
        inputs=inputs,
        config=config,
        face_weights=settings.encoders.face_weights,
        context_weights=settings.encoders.context_weights,
        missing_weights=settings.encoders.missing_weights,
    )
    # Frames that do not fit the schema are not worth a CNN's time.
    extractor.add_upstream_node(checks[-1])
    features = extractor.outputs["features"]
    training = _training(settings, features, managed)
    model = training[-1].outputs["model"]
    resolver, evaluator = _evaluation(settings, features, model, managed)
    validator = _validation(settings, examples, features, training[-1])
    pusher = VersionPusher(
        model=model,
        model_blessing=evaluator.outputs["blessing"],
        infra_blessing=validator.outputs["blessing"],
        push_destination=tfx.proto.PushDestination(
            filesystem=tfx.proto.PushDestination.Filesystem(
                base_directory=settings.serving_dir
            )
        ),
    )
    nodes = [examples, *checks, extractor, *training, resolver, evaluator]
    nodes += [validator, pusher.with_id("Pusher")]
    if settings.inference_split:
        inferrer = ClipInferrer(
            examples=features,
            model=model,
            model_blessing=evaluator.outputs["blessing"],
            split=settings.inference_split,
        )
        nodes.append(inferrer.with_id("BulkInferrer"))
    return tfx.dsl.Pipeline(
        pipeline_name=settings.pipeline_name,
        pipeline_root=settings.pipeline_root,
        components=nodes,
        enable_cache=settings.enable_cache,
        beam_pipeline_args=list(settings.beam_pipeline_args),
        metadata_connection_config=(
            None
            if managed
            else tfx.orchestration.metadata.sqlite_metadata_connection_config(
                settings.metadata_path
            )
        ),
    )


def check_machine(settings: Settings) -> None:
    """Looks, before hours of work, for what this machine must have.

    Raises:
        UsageError: The model server that is named is not there.
    """
    if not settings.serving.infra_validator:
        servable_server.binary_of(settings.serving.server)


def _inputs(settings: Settings) -> tuple[str, ...]:
    """What the system reads, and so what has to be extracted."""
    system = settings.trainer.system
    names = presets.PAPER_MEMBERS if system == presets.ENSEMBLE else (system,)
    config = settings.full_config()
    found = {}
    for name in names:
        presets.get(name)
        model = config.override([f"model.system={name}"]).model
        found |= dict.fromkeys(presets.inputs_of(presets.resolve(model)))
    if not found:
        raise ConfigError(
            f"pipeline settings: `trainer.system` must read features. "
            f"Received: {system!r}; `emorec evaluate` tells its figures"
        )
    return tuple(found)


def _config(settings: Settings) -> Config:
    """The config of the run, with the system's own sizes."""
    config = settings.full_config().override(
        [f"model.system={settings.trainer.system}"]
    )
    return dataclasses.replace(config, model=presets.resolve(config.model))


def _examples(settings: Settings, managed: bool):
    """ClipExampleGen, and what looks at its records."""
    given = settings.input
    source = {"manifest": given.manifest} if given.manifest else {}
    source |= {"data": given.data} if given.data else {}
    span = None
    if given.span >= 0:
        span = range_config_pb2.RangeConfig(
            static_range=range_config_pb2.StaticRange(
                start_span_number=given.span, end_span_number=given.span
            )
        )
    examples = ClipExampleGen(
        input_base=given.base,
        **source,
        labels=given.labels,
        people=given.people,
        config=settings.data_config().to_dict(),
        seed=given.seed,
        max_failed_share=given.max_failed_share,
        complete_splits=given.complete_splits,
        range_config=span,
    )
    schema_gen = tfx.components.ImportSchemaGen(
        schema_file=_schema_file(settings, managed)
    )
    counts = tfx.components.StatisticsGen(
        examples=examples.outputs["examples"],
        schema=schema_gen.outputs["schema"],
        stats_options=statistics.options(),
    )
    nodes, previous = [schema_gen, counts], None
    if not managed:
        earlier = tfx.dsl.Resolver(
            strategy_class=resolvers.LatestValid,
            candidate=counts.outputs["statistics"],
            others=tfx.dsl.Channel(type=standard_artifacts.ExampleStatistics),
        ).with_id("PreviousStatistics")
        previous = earlier.outputs["others"]
        nodes.append(earlier)
    validator = StrictExampleValidator(
        statistics=counts.outputs["statistics"],
        schema=schema_gen.outputs["schema"],
        previous_statistics=previous,
    )
    return examples, [*nodes, validator]


def _schema_file(settings: Settings, managed: bool) -> str:
    """The schema: given, or the committed one with the labels of the data.

    A copy that is named by its content: TFX's cache knows a schema by its
    path alone, and would not see that it was mended.
    """
    given, labels = settings.schema_file, settings.input.labels
    if not given and labels == "mec2017":
        given = SCHEMA_FILE
    if managed and given:
        return given
    if not given and (managed or labels == label_sets.AUTO):
        raise ConfigError(
            "pipeline settings: `schema_file` is needed where `input.labels` "
            f"is {labels!r}; `emorec pipeline schema` writes one"
        )
    if given:
        schema.label_names(given)
        with files.local_copy(given) as path:
            text = pathlib.Path(path).read_text(encoding="utf-8")
    else:
        text = schema.as_text(label_sets.resolve(labels).names)
    path = files.join(
        settings.pipeline_root, "schema", short_hash(text), "schema.pbtxt"
    )
    if not files.exists(path):
        with files.atomic(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return path


def _training(settings: Settings, features, managed: bool) -> list:
    """The Tuner and the warm start, where they are wanted; the Trainer last."""
    nodes, more = [], {}
    custom = trainer.custom_config(
        system=settings.trainer.system,
        assignments=settings.assignments(),
        seed=settings.trainer.seed,
        warm_start=settings.trainer.warm_start,
    )
    # Both run on the train split alone; validation is found beside it.
    splits = {
        "train_args": tfx.proto.TrainArgs(splits=["train"]),
        "eval_args": tfx.proto.EvalArgs(splits=["train"]),
    }
    if settings.tuner.max_trials:
        if settings.tuner.space:
            # Before the features are made, not after.
            tuner_space.parse(settings.tuner.space, _config(settings))
        tuner = tfx.components.Tuner(
            tuner_fn=TUNER_FN,
            examples=features,
            custom_config={
                **custom,
                "tuner": dataclasses.asdict(settings.tuner),
            },
            **splits,
        )
        nodes.append(tuner)
        more["hyperparameters"] = tuner.outputs["best_hyperparameters"]
    if settings.trainer.warm_start:
        base = _latest_blessed("BaseModel", None, managed)
        nodes.append(base)
        more["base_model"] = base.outputs["model"]
    nodes.append(
        tfx.components.Trainer(
            run_fn=RUN_FN,
            examples=features,
            custom_config=custom,
            **splits,
            **more,
        )
    )
    return nodes


def _latest_blessed(name: str, candidate, managed: bool):
    """A Resolver of the last blessed model."""
    channels = {
        "model": tfx.dsl.Channel(type=standard_artifacts.Model),
        "model_blessing": tfx.dsl.Channel(
            type=standard_artifacts.ModelBlessing
        ),
    }
    strategy = tfx.dsl.experimental.LatestBlessedModelStrategy
    if not managed:
        strategy = resolvers.LatestBlessed
        if candidate is not None:
            channels["candidate"] = candidate
    return tfx.dsl.Resolver(strategy_class=strategy, **channels).with_id(name)


def _evaluation(settings: Settings, features, model, managed: bool):
    wanted = settings.evaluator
    baseline = _latest_blessed("LastBlessed", model, managed)
    names = _label_names(settings)
    config: tfma.EvalConfig = evaluation.eval_config(
        names,
        min_map=wanted.min_map,
        min_accuracy=wanted.min_accuracy,
        max_map_drop=wanted.max_map_drop,
    )
    evaluator = ClipEvaluator(
        examples=features,
        model=model,
        baseline_model=baseline.outputs["model"],
        eval_config=config,
        example_splits=[wanted.split],
    )
    return baseline, evaluator.with_id("Evaluator")


def _label_names(settings: Settings) -> tuple[str, ...]:
    if settings.input.labels != label_sets.AUTO:
        return label_sets.resolve(settings.input.labels).names
    return schema.label_names(settings.schema_file)


def _validation(settings: Settings, examples, features, trained):
    """Our trial of the servable, or TFX's where it is asked for."""
    wanted = settings.serving
    if wanted.infra_validator:
        return tfx.components.InfraValidator(
            model=trained.outputs["model"],
            serving_spec=infra_validator_pb2.ServingSpec(
                tensorflow_serving=infra_validator_pb2.TensorFlowServing(
                    tags=["2.16.1"]
                ),
                local_docker=infra_validator_pb2.LocalDockerConfig(),
            ),
        )
    return ServableValidator(
        model=trained.outputs["model"],
        examples=examples.outputs["examples"],
        features=features,
        model_run=trained.outputs["model_run"],
        max_clips=wanted.max_clips,
        tolerance=wanted.tolerance,
        server=wanted.server,
    )
