"""The executor of FeatureExtractor."""

import contextlib
import json
from typing import Any

import apache_beam as beam
from absl import logging
from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils

from emorec.config import Config
from emorec.data import dataset, files
from emorec.errors import ConfigError
from emorec.features import encoder, feature_set, precomputed
from emorec.features.encoders import Encoders
from emorec.models import presets
from tfx_pipeline import beam_shards, executions, feature_shards

# Custom properties of the artifact.
ENCODER_HASH = "encoder_hash"
RANDOM_WEIGHTS = "random_weights"


class Executor(base_beam_executor.BaseBeamExecutor):
    """Makes a feature set (`emorec.features.feature_set`) of a data set."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Extracts all shards; see `FeatureExtractor` for the parameters.

        Raises:
            ConfigError: The config does not fit the records, an encoder does
                not give an input, or the data set came with its features.
            WeightsError: An encoder's weights cannot be had.
            RecordError: A shard is corrupt or incomplete.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        features = artifact_utils.get_single_instance(output_dict["features"])
        config = Config.from_dict(json.loads(exec_properties["config"]))
        inputs = tuple(json.loads(exec_properties["inputs"]))
        data = _data_of(examples.uri)
        dataset.check_fits(data, config, data.labels, "the FeatureExtractor")
        encoders = _create(data, config, inputs, exec_properties)
        feature_set.save_encoders(features.uri, encoders)
        tasks = feature_set.plan(
            data,
            features.uri,
            encoders,
            inputs,
            config,
            code=exec_properties["code"],
            earlier=executions.beside(features.uri, executions.NEWEST),
        )
        self._extract(features.uri, encoders, tasks)
        feature_set.finish(data, features.uri, encoders, config, tasks)
        _describe(features, examples, encoders)

    def _extract(self, path, encoders, tasks):
        feature_shards.keep(encoders)
        hashes = {stream: e.hash for stream, e in encoders.items()}
        # A shard is minutes of work: without a reshuffle a runner may fuse
        # all of them into one bundle on one worker.
        with beam_shards.plain_errors(), self._make_beam_pipeline() as root:
            _ = (
                root
                | "Shards" >> beam.Create(tasks)
                | "Spread" >> beam.Reshuffle()
                | "Extract"
                >> beam.ParDo(feature_shards.ExtractShard(path, hashes))
            )


def _data_of(uri: str) -> dataset.Dataset:
    if not files.exists(files.join(uri, dataset.FILE)):
        raise ConfigError(
            f"{uri}: `examples` must be a prepared data set, with its "
            f"{dataset.FILE}; make it with ClipExampleGen, whose `data` takes "
            "a folder of `emorec prepare`"
        )
    return dataset.load(uri)


def _create(data, config, inputs, properties) -> Encoders:
    """Makes the encoders that the inputs need; random ones are announced."""
    if precomputed.encoders(data.path, inputs).items():
        raise ConfigError(
            f"{data.path}: its features came with it, so that there is no "
            "frame to encode; train on it by `emorec train`"
        )
    made = {}
    with contextlib.ExitStack() as stack:
        for stream in presets.streams_of(inputs):
            path = properties[f"{stream}_weights"]
            made[stream] = encoder.create(
                getattr(config.features, f"{stream}_encoder"),
                stack.enter_context(files.local_copy(path)) if path else None,
                allow_random=properties["missing_weights"] == "random",
                crop_size=config.clip.crop_size,
                file_pixels=config.features.file_pixels,
            )
    encoders = Encoders(**made).only(inputs)
    if encoders.random_weights:
        logging.warning(
            "The %s encoder has RANDOM frozen weights: the published ones "
            "were not found. Answers say nothing about emotion.",
            " and ".join(encoders.random_weights),
        )
    return encoders


def _describe(features, examples, encoders) -> None:
    features.split_names = examples.split_names
    examples_utils.set_payload_format(
        features, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE
    )
    examples_utils.set_file_format(features, "tfrecords_gzip")
    features.set_string_custom_property(ENCODER_HASH, encoders.hash)
    features.set_string_custom_property(
        RANDOM_WEIGHTS, ",".join(encoders.random_weights)
    )
