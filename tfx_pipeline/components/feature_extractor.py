"""FeatureExtractor: the frozen CNNs' features of all records, by Beam.

    extractor = FeatureExtractor(
        examples=examples.outputs["examples"],
        inputs=["face_features", "context_features"],
        config=Config().to_dict(),
    )

Its output `features` is an `Examples` artifact of gzip TFRecords
(`emorec.features.feature_set`) that any TFX component reads; a model's
signature `feature_examples` answers its records without running a CNN again.
"""

import hashlib
import json
import os
import pathlib
from collections.abc import Sequence
from typing import ClassVar

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from emorec.config import Config
from emorec.data import files
from emorec.errors import ConfigError, WeightsError
from emorec.features import encoder_presets
from emorec.features.encoders import STREAMS
from tfx_pipeline.code_hash import code_hash
from tfx_pipeline.components import feature_extractor_executor as executor

# The sections that decide a feature; a learning rate must not run a CNN again.
_SECTIONS = ("video", "detector", "tracks", "clip", "data", "features")
# What runs here.
_CODE = (
    "emorec/config.py",
    "emorec/config_check.py",
    "emorec/config_values.py",
    "emorec/data",
    "emorec/features",
    "emorec/labels.py",
    "emorec/models/presets.py",
    "tfx_pipeline/beam_shards.py",
    "tfx_pipeline/components/feature_extractor.py",
    "tfx_pipeline/components/feature_extractor_executor.py",
    "tfx_pipeline/executions.py",
    "tfx_pipeline/feature_shards.py",
)
ERROR, RANDOM = MISSING = ("error", "random")
_ABSENT = "absent"


class FeatureExtractorSpec(types.ComponentSpec):
    """What FeatureExtractor takes and gives."""

    PARAMETERS: ClassVar[dict] = {
        "inputs": ExecutionParameter(type=str),
        "config": ExecutionParameter(type=str),
        "face_weights": ExecutionParameter(type=str),
        "context_weights": ExecutionParameter(type=str),
        "missing_weights": ExecutionParameter(type=str),
        "weights": ExecutionParameter(type=str),
        "code": ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict] = {
        "examples": ChannelParameter(type=standard_artifacts.Examples)
    }
    OUTPUTS: ClassVar[dict] = {
        "features": ChannelParameter(type=standard_artifacts.Examples)
    }


class FeatureExtractor(base_beam_component.BaseBeamComponent):
    """Runs the frozen encoders once over the records of frames.

    Args:
        examples: A channel of `Examples` that are a prepared data set, as
            ClipExampleGen's.
        inputs: What a record of features holds, `<stream>_<kind>`: all that
            the networks to be trained read, one or more.
        config: An `emorec.config.Config.to_dict()`; its encoders, batch size
            and crop size. It must fit the records.
        face_weights: The face encoder's weight file, or its folder; ""
            finds or downloads the published ones.
        context_weights: The same of the context encoder.
        missing_weights: `error`, or `random` to try the software out where
            published weights cannot be had.

    Raises:
        ConfigError: The config, an input or `missing_weights` is wrong.
    """

    SPEC_CLASS = FeatureExtractorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        inputs: Sequence[str],
        config: dict,
        face_weights: str = "",
        context_weights: str = "",
        missing_weights: str = ERROR,
    ):
        found = Config.from_dict(config)
        _check(inputs, missing_weights)
        paths = {"face": face_weights, "context": context_weights}
        kept = {
            section: fields
            for section, fields in found.to_dict().items()
            if section in _SECTIONS
        }
        spec = FeatureExtractorSpec(
            examples=examples,
            inputs=json.dumps(sorted(set(inputs))),
            config=json.dumps(kept, sort_keys=True),
            face_weights=face_weights,
            context_weights=context_weights,
            missing_weights=missing_weights,
            weights=json.dumps(
                fingerprints(found, paths, missing_weights), sort_keys=True
            ),
            code=code_hash(*_CODE),
            features=types.Channel(type=standard_artifacts.Examples),
        )
        super().__init__(spec=spec)


def _check(inputs, missing_weights):
    if not inputs or isinstance(inputs, str):
        raise ConfigError(
            "FeatureExtractor: `inputs` must be a list of one or more of "
            f"face_features, context_features, ... Received: {inputs!r}"
        )
    for name in inputs:
        stream, _, kind = name.partition("_")
        if stream not in STREAMS or not kind:
            raise ConfigError(
                "FeatureExtractor: `inputs` are <stream>_<kind> with the "
                f"streams {', '.join(STREAMS)}. Received: {name!r}"
            )
    if missing_weights not in MISSING:
        raise ConfigError(
            "FeatureExtractor: `missing_weights` must be "
            f"{' or '.join(MISSING)}. Received: {missing_weights!r}"
        )


def fingerprints(
    config: Config, paths: dict[str, str], missing_weights: str
) -> dict[str, str]:
    """Names the content of the weights, for the key of TFX's cache.

    Args:
        config: Names the encoders.
        paths: Stream -> the weight file that was given, or "".
        missing_weights: With `random`, whether published weights can be
            found decides the features.

    Returns:
        Stream -> a hash; `absent` where a file is not on this machine, which
        may not be the one that will read it.
    """
    made = {}
    for stream in STREAMS:
        name = getattr(config.features, f"{stream}_encoder")
        preset = encoder_presets.PRESETS.get(name)
        if preset is None:
            made[stream] = _fingerprint(name)
        elif paths[stream]:
            made[stream] = _fingerprint(paths[stream])
        elif preset.source is not None and missing_weights == ERROR:
            # Nothing else is ever read; whether it is there yet is no matter.
            made[stream] = preset.source.sha256
        else:
            made[stream] = _findable(preset)
    return made


def _findable(preset) -> str:
    try:
        file, about = encoder_presets.find_weights(preset, None, False)
    except WeightsError:
        return _ABSENT
    return about["sha256"]


def _fingerprint(path: str) -> str:
    """Returns a hash of a file's or a folder's content."""
    if files.is_remote(path):
        if not files.exists(path):
            return _ABSENT
        return "{}-{}".format(*files.stat(path))
    place = pathlib.Path(path).expanduser()
    found = [place] if place.is_file() else sorted(place.rglob("*"))
    digest = hashlib.sha256()
    for file in found:
        if file.is_file():
            with open(file, "rb") as f:
                content = hashlib.file_digest(f, "sha256").hexdigest()
            digest.update(f"{os.path.relpath(file, place)} {content}".encode())
    return digest.hexdigest() if found else _ABSENT
