"""StrictExampleValidator: records that do not fit the schema end the run."""

import json
import os
from collections.abc import Sequence
from typing import Any, ClassVar

import tensorflow as tf
import tensorflow_data_validation as tfdv
from absl import logging
from tensorflow_metadata.proto.v0 import (
    anomalies_pb2,
    schema_pb2,
    statistics_pb2,
)
from tfx import types
from tfx.components.example_validator import component, executor
from tfx.components.statistics_gen import stats_artifact_utils
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import (
    ChannelParameter,
    ComponentSpec,
    ExecutionParameter,
)
from tfx.utils import io_utils, writer_utils

from emorec.errors import RecordError
from tfx_pipeline import schema as schemas
from tfx_pipeline.code_hash import code_hash

# Splits of fewer records are not compared: of ten clips, three of one label
# more are nothing but chance.
MIN_COMPARED = 100
_CODE = (
    "emorec/data/files.py",
    "emorec/data/keys.py",
    "emorec/data/paths.py",
    "emorec/data/remote.py",
    "emorec/labels.py",
    "tfx_pipeline/components/example_validator.py",
    "tfx_pipeline/schema.py",
)
_STATISTICS = "statistics"
_PREVIOUS = "previous_statistics"
_SCHEMA = "schema"
_ANOMALIES = "anomalies"
_Stats = statistics_pb2.DatasetFeatureStatisticsList


class StrictExampleValidatorSpec(ComponentSpec):
    """ComponentSpec of `StrictExampleValidator`."""

    PARAMETERS: ClassVar = {
        "serving_splits": ExecutionParameter(type=str),
        "skew_split": ExecutionParameter(type=str),
        "min_compared": ExecutionParameter(type=int),
        "code": ExecutionParameter(type=str),
    }
    INPUTS: ClassVar = {
        _STATISTICS: ChannelParameter(
            type=standard_artifacts.ExampleStatistics
        ),
        _SCHEMA: ChannelParameter(type=standard_artifacts.Schema),
        _PREVIOUS: ChannelParameter(
            type=standard_artifacts.ExampleStatistics,
            optional=True,
            allow_empty=True,
        ),
    }
    OUTPUTS: ClassVar = {
        _ANOMALIES: ChannelParameter(type=standard_artifacts.ExampleAnomalies)
    }


class StrictExampleValidatorExecutor(base_executor.BaseExecutor):
    """Validates each split; see `StrictExampleValidator`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the anomalies of each split, then raises if there are any.

        Raises:
            RecordError: With each anomaly in words, a line each.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        artifact = artifact_utils.get_single_instance(input_dict[_STATISTICS])
        schema = _read_schema(input_dict[_SCHEMA])
        stats = _read_statistics(artifact)
        previous = _read_previous(input_dict.get(_PREVIOUS) or [])
        serving = [
            split
            for split in json.loads(exec_properties["serving_splits"])
            if split in stats
        ]
        result = artifact_utils.get_single_instance(output_dict[_ANOMALIES])
        result.split_names = artifact_utils.encode_split_names(list(stats))
        result.span = artifact.span
        lines, blessed = [], {}
        enough = exec_properties["min_compared"]
        for split in stats:
            skewed = split == exec_properties["skew_split"] and serving
            found = validate(
                stats[split],
                schema,
                serving=split in serving,
                previous=_enough(previous.get(split), enough, split),
                served=_enough(stats[serving[0]], enough, split)
                if skewed
                else None,
                min_compared=enough,
            )
            uri = artifact_utils.get_split_uri([result], split)
            writer_utils.write_anomalies(
                os.path.join(uri, executor.DEFAULT_FILE_NAME), found
            )
            told = in_words(found, _count(stats[split]))
            lines += [f"split {split}: {line}" for line in told]
            blessed[split] = int(not told)
        result.set_json_value_custom_property(
            executor.ARTIFACT_PROPERTY_BLESSED_KEY, blessed
        )
        if lines:
            raise RecordError(
                "the records do not fit the schema, "
                f"{len(lines)} anomal{'y' if len(lines) == 1 else 'ies'}; mend "
                "the data, or the schema where it is the data that is right:\n"
                + "\n".join(lines)
            )


def validate(
    stats: _Stats,
    schema: schema_pb2.Schema,
    *,
    serving: bool = False,
    previous: _Stats | None = None,
    served: _Stats | None = None,
    min_compared: int = MIN_COMPARED,
) -> anomalies_pb2.Anomalies:
    """Validates the statistics of one split.

    Args:
        stats: Of the split.
        schema: The schema.
        serving: Whether these are clips to predict.
        previous: Of the same split of earlier data, for drift.
        served: Of clips to predict, for skew.
        min_compared: Fewer records than this are not compared.

    Returns:
        TFDV's anomalies.
    """
    if serving:
        stats = _without_labels(stats, schema)
    if _count(stats) < min_compared:
        previous = served = None
    return tfdv.validate_statistics(
        stats,
        schema,
        environment=schemas.SERVING if serving else schemas.TRAINING,
        previous_statistics=previous,
        serving_statistics=served,
    )


def in_words(anomalies: anomalies_pb2.Anomalies, records: int) -> list[str]:
    """Returns one line for each anomaly: `clip/label: ... (of 20 records)`."""
    found = []
    if anomalies.HasField("dataset_anomaly_info"):
        found.append(("all of it", anomalies.dataset_anomaly_info))
    found += sorted(anomalies.anomaly_info.items())
    lines = []
    for name, info in found:
        for reason in info.reason or [info]:
            text = f"{reason.short_description}: {reason.description}"
            text = " ".join(text.split()).rstrip(". ")
            lines.append(f"{name}: {text} (of {records} records)")
    return lines


def _read_schema(artifacts) -> schema_pb2.Schema:
    uri = artifact_utils.get_single_uri(artifacts)
    return io_utils.SchemaReader().read(io_utils.get_only_uri_in_dir(uri))


def _read_statistics(artifact) -> dict[str, _Stats]:
    return {
        split: stats_artifact_utils.load_statistics(artifact, split).proto()
        for split in artifact_utils.decode_split_names(artifact.split_names)
    }


def _read_previous(artifacts) -> dict[str, _Stats]:
    try:
        return _read_statistics(artifacts[0]) if artifacts else {}
    except (OSError, tf.errors.OpError) as e:
        # Whoever cleans up after old runs does not want the next to fail.
        logging.warning("no earlier statistics, so no drift: %s", e)
        return {}


def _count(stats: _Stats) -> int:
    return stats.datasets[0].num_examples


def _enough(stats, least: int, split: str) -> _Stats | None:
    """Returns statistics that are of enough records to compare with."""
    if stats is None or _count(stats) >= least:
        return stats
    logging.info(
        "split %s: not compared with %d records, fewer than %d",
        split,
        _count(stats),
        least,
    )
    return None


def _without_labels(stats: _Stats, schema: schema_pb2.Schema) -> _Stats:
    """Returns statistics without the features that SERVING does not have.

    Our records hold every key, with "" and -1 for no label; TFDV takes a key
    that is there but not in the environment for an anomaly.
    """
    absent = {
        feature.name
        for feature in schema.feature
        if schemas.SERVING in feature.not_in_environment
    }
    kept = _Stats()
    kept.CopyFrom(stats)
    for data in kept.datasets:
        features = [
            f for f in data.features if ".".join(f.path.step) not in absent
        ]
        del data.features[:]
        data.features.extend(features)
    return kept


class StrictExampleValidator(component.ExampleValidator):
    """TFX's ExampleValidator, but an anomaly fails the run, in words.

    A split is validated in the schema's environment TRAINING; those in
    `serving_splits` in SERVING. Where the schema has comparators, a split is
    compared with the same split of `previous_statistics` (drift), and
    `skew_split` with the first of `serving_splits` that there is (skew).

    Outputs:
        anomalies: As TFX writes them (`Split-*/SchemaDiff.pb`); of a run that
            goes on, so without any.
    """

    SPEC_CLASS = StrictExampleValidatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(
        StrictExampleValidatorExecutor
    )

    def __init__(
        self,
        statistics: types.BaseChannel,
        schema: types.BaseChannel,
        previous_statistics: types.BaseChannel | None = None,
        serving_splits: Sequence[str] = ("unlabelled",),
        skew_split: str = "validation",
        min_compared: int = MIN_COMPARED,
    ):
        """Wires the component.

        Args:
            statistics: `ExampleStatistics` of StatisticsGen.
            schema: `Schema`, with the environments TRAINING and SERVING.
            previous_statistics: `ExampleStatistics` of earlier data; may be
                empty.
            serving_splits: Splits of clips to predict.
            skew_split: Labelled split that is sampled as they are.
            min_compared: Splits of fewer records are not compared.
        """
        base_component.BaseComponent.__init__(
            self,
            spec=StrictExampleValidatorSpec(
                statistics=statistics,
                schema=schema,
                previous_statistics=previous_statistics,
                serving_splits=json.dumps(list(serving_splits)),
                skew_split=skew_split,
                min_compared=min_compared,
                code=code_hash(*_CODE),
                anomalies=types.Channel(
                    type=standard_artifacts.ExampleAnomalies
                ),
            ),
        )
        self.id = component.ExampleValidator.__name__
