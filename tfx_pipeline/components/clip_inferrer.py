"""BulkInferrer for clips: answers for a split that may not be there."""

from typing import Any

from absl import logging
from tfx import types
from tfx.components import BulkInferrer
from tfx.components.bulk_inferrer import executor as bulk_inferrer
from tfx.dsl.components.base import executor_spec
from tfx.proto import bulk_inferrer_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import proto_utils

from tfx_pipeline.code_hash import code_hash

_CODE = ("tfx_pipeline/components/clip_inferrer.py",)
SIGNATURE = "feature_examples"
# Where the answer stands in an output record, beside what was asked.
COLUMN = "emotion/probabilities"


class Executor(bulk_inferrer.Executor):
    """BulkInferrer's own, which a split without records does not stop."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """See `tfx.components.BulkInferrer`."""
        examples = artifact_utils.get_single_instance(
            input_dict[standard_component_specs.EXAMPLES_KEY]
        )
        there = artifact_utils.decode_split_names(examples.split_names)
        spec = bulk_inferrer_pb2.DataSpec()
        proto_utils.json_to_proto(
            exec_properties[standard_component_specs.DATA_SPEC_KEY], spec
        )
        found = [s for s in spec.example_splits if s in there]
        if not found:
            logging.info(
                "no records of %s: nothing to answer",
                ", ".join(spec.example_splits),
            )
            output = artifact_utils.get_single_instance(
                output_dict[standard_component_specs.OUTPUT_EXAMPLES_KEY]
            )
            output.split_names = artifact_utils.encode_split_names([])
            return
        super().Do(input_dict, output_dict, exec_properties)


class ClipInferrer(BulkInferrer):
    """Answers for the clips of a split, through `feature_examples`.

    Output `output_examples`: the records of features with
    `emotion/probabilities`, K floats in the order of the model's labels. A
    model that was not blessed answers nothing.
    """

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        model: types.BaseChannel,
        model_blessing: types.BaseChannel | None = None,
        split: str = "unlabelled",
    ):
        """Wires the component.

        Args:
            examples: Records of features (`FeatureExtractor`).
            model: An exported model.
            model_blessing: The Evaluator's.
            split: Whose clips are answered for.
        """
        column = bulk_inferrer_pb2.PredictOutputCol(
            output_key="probabilities", output_column=COLUMN
        )
        super().__init__(
            examples=examples,
            model=model,
            model_blessing=model_blessing,
            data_spec=bulk_inferrer_pb2.DataSpec(example_splits=[split]),
            model_spec=bulk_inferrer_pb2.ModelSpec(
                model_signature_name=[SIGNATURE]
            ),
            output_example_spec=bulk_inferrer_pb2.OutputExampleSpec(
                output_columns_spec=[
                    bulk_inferrer_pb2.OutputColumnsSpec(
                        signature_name=SIGNATURE,
                        predict_output=bulk_inferrer_pb2.PredictOutput(
                            output_columns=[column]
                        ),
                    )
                ]
            ),
        )
        self.spec.exec_properties["code"] = code_hash(*_CODE)
