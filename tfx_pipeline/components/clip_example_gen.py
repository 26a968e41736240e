"""ClipExampleGen: a manifest of videos, or prepared records, to Examples."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tfx import types
from tfx.components.example_gen import component
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.orchestration import data_types
from tfx.proto import example_gen_pb2, range_config_pb2
from tfx.types import standard_artifacts
from tfx.types.component_spec import (
    ChannelParameter,
    ComponentSpec,
    ExecutionParameter,
)

from emorec.config import Config
from emorec.data import splits
from emorec.errors import UsageError
from emorec.video.clip import PEOPLE
from tfx_pipeline import artifacts
from tfx_pipeline.code_hash import code_hash
from tfx_pipeline.components import clip_example_gen_driver as driver
from tfx_pipeline.components import clip_example_gen_executor as executor

# What decides the records; a test holds that nothing imported is missing.
CODE = (
    "emorec/config.py",
    "emorec/config_check.py",
    "emorec/config_values.py",
    "emorec/labels.py",
    "emorec/data/csv_lines.py",
    "emorec/data/dataset.py",
    "emorec/data/files.py",
    "emorec/data/keys.py",
    "emorec/data/manifest.py",
    "emorec/data/paths.py",
    "emorec/data/prepare.py",
    "emorec/data/records.py",
    "emorec/data/remote.py",
    "emorec/data/shard_files.py",
    "emorec/data/shards.py",
    "emorec/data/splits.py",
    "emorec/data/video_hashes.py",
    "emorec/features/detector.py",
    "emorec/features/frozen.py",
    "emorec/features/graph_cache.py",
    "emorec/features/sessions.py",
    "emorec/features/tensorflow_c.py",
    "emorec/features/weights.py",
    "emorec/video",
    "tfx_pipeline/beam_shards.py",
    "tfx_pipeline/components/clip_example_gen_driver.py",
    "tfx_pipeline/components/clip_example_gen_executor.py",
)


class ClipExampleGenSpec(ComponentSpec):
    """ComponentSpec of `ClipExampleGen`."""

    # The first three are named as TFX's Kubeflow driver reads them.
    PARAMETERS: ClassVar = {
        "input_base": ExecutionParameter(type=str),
        "input_config": ExecutionParameter(type=example_gen_pb2.Input),
        "range_config": ExecutionParameter(
            type=range_config_pb2.RangeConfig, optional=True
        ),
        "labels": ExecutionParameter(type=str),
        "people": ExecutionParameter(type=str),
        "config": ExecutionParameter(type=str),
        "seed": ExecutionParameter(type=int),
        "max_failed_share": ExecutionParameter(type=float),
        "complete_splits": ExecutionParameter(type=str),
        "code": ExecutionParameter(type=str),
    }
    INPUTS: ClassVar = {}
    OUTPUTS: ClassVar = {
        executor.EXAMPLES: ChannelParameter(type=standard_artifacts.Examples),
        executor.DEAD_LETTERS: ChannelParameter(type=artifacts.DeadLetters),
    }


class ClipExampleGen(component.FileBasedExampleGen):
    """Records of clips, with spans and versions, from videos.

    `manifest` (or `data`) is a path below `input_base`; in `span-{SPAN}/
    v{VERSION}/labels.csv` the newest span and its newest version are taken,
    or the span that `range_config` fixes. TFX's cache answers while the
    manifest's bytes, and size and time of change of each video, stay.

    Beam distributes shards of the manifest. A run that was killed is gone on
    with: finished shards of earlier executions, made of the same videos with
    the same config and code, are taken over.

    Outputs:
        examples: A prepared data set (`emorec.data.dataset`): `dataset.json`,
            `Split-*/*.tfrecord`, `shards/*.json`. Its properties are span,
            version and input_fingerprint.
        dead_letters: `failures.csv`: the videos that could not be read.
    """

    SPEC_CLASS = ClipExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(
        executor.ClipExampleGenExecutor
    )
    DRIVER_CLASS = driver.ClipExampleGenDriver

    def __init__(
        self,
        input_base: str | data_types.RuntimeParameter,
        manifest: str = "",
        *,
        data: str = "",
        labels: str = "mec2017",
        people: str = "main",
        config: Mapping[str, Any] | None = None,
        seed: int = 0,
        max_failed_share: float = 0.1,
        complete_splits: Sequence[str] = ("train",),
        range_config: range_config_pb2.RangeConfig | None = None,
    ):
        """Wires the component.

        Args:
            input_base: The folder below which the input lies; may be remote.
            manifest: Pattern of a manifest CSV; `manifest.csv` by default.
            data: Pattern of a folder of `emorec prepare`, in its place.
            labels: The label set: `mec2017`, `fer2013`, `auto`, or a file.
            people: `main` or `all`; as `emorec prepare --people`.
            config: `emorec.config.Config.to_dict()`, whole or in part.
            seed: Of a split that has to be drawn.
            max_failed_share: Largest share of videos, 0 to 1, that may be
                unreadable.
            complete_splits: Splits that must hold every label of the set.
            range_config: The span to read; the newest by default.

        Raises:
            UsageError: An argument is wrong.
            ConfigError: `config` is.
        """
        if manifest and data:
            raise UsageError(
                "give `manifest` or `data`, not both. Received: "
                f"{manifest!r} and {data!r}"
            )
        if people not in PEOPLE:
            raise UsageError(
                f"`people` must be {' or '.join(PEOPLE)}. Received: {people!r}"
            )
        if not 0 <= max_failed_share <= 1:
            raise UsageError(
                "`max_failed_share` must be 0 to 1. Received: "
                f"{max_failed_share!r}"
            )
        unknown = set(complete_splits) - set(splits.SPLITS)
        if unknown:
            raise UsageError(
                "`complete_splits` must be of "
                f"{', '.join(splits.SPLITS)}. Received: {sorted(unknown)}"
            )
        whole = Config.from_dict(dict(config or {})).to_dict()
        spec = ClipExampleGenSpec(
            input_base=input_base,
            input_config=driver.input_config(
                driver.DATA if data else driver.MANIFEST,
                data or manifest or "manifest.csv",
            ),
            range_config=range_config,
            labels=labels,
            people=people,
            config=json.dumps(whole, sort_keys=True),
            seed=seed,
            max_failed_share=float(max_failed_share),
            complete_splits=json.dumps(list(complete_splits)),
            code=code_hash(*CODE),
            examples=types.Channel(type=standard_artifacts.Examples),
            dead_letters=types.Channel(type=artifacts.DeadLetters),
        )
        # Past FileBasedExampleGen's own, which makes another spec.
        base_beam_component.BaseBeamComponent.__init__(self, spec=spec)
