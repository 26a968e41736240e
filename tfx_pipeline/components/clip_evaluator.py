"""Evaluator for clips: TFX's own, with faults told in one line."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tensorflow_model_analysis as tfma
from absl import logging
from tfx import types
from tfx.components import Evaluator
from tfx.components.evaluator import executor as evaluator
from tfx.dsl.components.base import executor_spec
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import json_utils, proto_utils

from emorec.data import keys
from emorec.errors import ConfigError, RecordError
from tfx_pipeline import candidates, evaluation
from tfx_pipeline.code_hash import code_hash

_CODE = (
    "emorec/data/files.py",
    "emorec/data/keys.py",
    "emorec/data/paths.py",
    "emorec/data/records.py",
    "emorec/data/remote.py",
    "tfx_pipeline/candidates.py",
    "tfx_pipeline/components/clip_evaluator.py",
    "tfx_pipeline/evaluation.py",
    "tfx_pipeline/map_metric.py",
)
# What a baseline that could not be asked leaves on the blessing.
LEFT_OUT = "baseline_left_out"


class Executor(evaluator.Executor):
    """TFX's executor, between checks.

    Without them an empty split, features of another encoder and a label that
    is none of the model's end in Beam: as a traceback that holds a batch of
    records, or not at all.
    """

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """See `tfx.components.Evaluator`.

        Raises:
            RecordError: A split has no records, or a record has a label that
                is none of the model's.
            ConfigError: The records' features, or the labels of the config,
                are others than the model's.
        """
        examples = input_dict[standard_component_specs.EXAMPLES_KEY]
        splits = json_utils.loads(
            exec_properties.get(
                standard_component_specs.EXAMPLE_SPLITS_KEY, "null"
            )
        )
        firsts = [_first(examples, s) for s in splits or ["eval"]]
        labels = _labels(exec_properties)
        model = artifact_utils.get_single_instance(
            input_dict[standard_component_specs.MODEL_KEY]
        )
        for misfit in _misfits(model, firsts, labels):
            raise ConfigError(f"{model.uri}: {misfit}")
        baseline = input_dict.get(standard_component_specs.BASELINE_MODEL_KEY)
        left_out = "; ".join(
            misfit
            for model in baseline or ()
            for misfit in _misfits(model, firsts, labels)
        )
        if left_out:
            # It was right for other features. It can say nothing of these.
            logging.warning("the last blessed model is left out: %s", left_out)
            input_dict = {**input_dict}
            del input_dict[standard_component_specs.BASELINE_MODEL_KEY]
        super().Do(input_dict, output_dict, exec_properties)
        blessing = artifact_utils.get_single_instance(
            output_dict[standard_component_specs.BLESSING_KEY]
        )
        if left_out:
            blessing.set_string_custom_property(LEFT_OUT, left_out)
        if labels:
            _check_measured(
                artifact_utils.get_single_uri(
                    output_dict[standard_component_specs.EVALUATION_KEY]
                )
            )


def _first(examples: list[types.Artifact], split: str) -> tf.train.Example:
    """Returns the first record of a split."""
    for artifact in examples:
        if split in artifact_utils.decode_split_names(artifact.split_names):
            uri = artifact_utils.get_split_uri([artifact], split)
            for data in candidates.records(uri):
                return candidates.example(data)
    there = [
        s
        for artifact in examples
        for s in artifact_utils.decode_split_names(artifact.split_names)
    ]
    raise RecordError(
        f"{', '.join(a.uri for a in examples)}: the split {split!r} has no "
        "records to evaluate on; its splits are "
        f"{', '.join(map(repr, there)) or 'none'}; give clips to that split, "
        "or name another one"
    )


def _labels(exec_properties) -> list[str]:
    config = tfma.EvalConfig()
    proto_utils.json_to_proto(
        exec_properties[standard_component_specs.EVAL_CONFIG_KEY], config
    )
    return evaluation.labels_of(config)


def _misfits(
    model: types.Artifact, firsts: Sequence[tf.train.Example], labels: list[str]
) -> list[str]:
    """Returns in words why a model cannot answer for some records."""
    found = candidates.description(candidates.saved_model_path(model))
    if found is None:
        return []
    misfits = []
    names = list(found["labels"]["names"])
    if labels and labels != names:
        misfits.append(
            f"its labels are {', '.join(names)}, those of the evaluation are "
            f"{', '.join(labels)}; train a model for these labels"
        )
    for stream, encoder in found["encoders"].items():
        key = keys.encoder_key(stream)
        hashes = {
            value.decode(errors="replace")
            for example in firsts
            for value in example.features.feature[key].bytes_list.value
        }
        for other in sorted(hashes - {encoder["hash"], ""}):
            misfits.append(
                f"it reads features of the {stream} encoder "
                f"{encoder['hash']}, the records have those of {other}; "
                "evaluate it on features of its own encoders"
            )
    return misfits


def _check_measured(uri: str) -> None:
    """Refuses figures that leave clips out."""
    overall = evaluation.read_result(uri)["slices"][evaluation.OVERALL]
    if overall["unmeasured_clips"]:
        raise RecordError(
            f"{overall['unmeasured_clips']} of {overall['clips']} clips "
            "cannot be measured: their label is none of the model's, or the "
            "model's answer is no number; label them, or move them into a "
            "split that is not evaluated"
        )


class ClipEvaluator(Evaluator):
    """TFX's Evaluator, which refuses in one line what it cannot measure.

    Inputs, outputs and parameters are those of `tfx.components.Evaluator`;
    the config is `tfx_pipeline.evaluation.eval_config`. A baseline of other
    encoders or labels is left out, as if there were none; the blessing then
    has the reason as its custom property `baseline_left_out`.
    """

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(self, *args, **kwargs):
        """Wires the component; see `tfx.components.Evaluator`."""
        super().__init__(*args, **kwargs)
        self.spec.exec_properties["code"] = code_hash(*_CODE)
