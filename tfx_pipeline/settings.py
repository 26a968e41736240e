"""The settings of a pipeline, `pipeline.json`, and their only defaults.

    {
      "pipeline_name": "emotion",
      "input": {"base": "clips", "manifest": "labels.csv"},
      "config": {"train": {"epochs": 20}}
    }

Every field has a default here. A path is relative to the folder of the file
that names it. How records, networks and training are set is the config of
`emorec` itself (`emorec.config`), in part or whole, under `config`.
"""

import dataclasses
import json
import os

from emorec import config_values
from emorec.config import Config
from emorec.data import files
from emorec.data.splits import SPLITS, UNLABELLED
from emorec.errors import ConfigError

# The sections of the config that decide what ClipExampleGen writes. It is
# given no others: a changed learning rate must not decode videos again.
DATA_SECTIONS = ("video", "detector", "tracks", "clip", "data")
# What the Trainer reads beside the data's own config.
TRAIN_SECTIONS = ("features", "model", "train")
LABELLED = tuple(s for s in SPLITS if s != UNLABELLED)
_NAME_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789-_"


@dataclasses.dataclass(frozen=True)
class InputSettings:
    """Where the clips come from.

    Attributes:
        base: The folder under which the patterns lie.
        manifest: A manifest CSV; may hold {SPAN} and {VERSION}.
        data: A data set of `emorec prepare` in place of a manifest; the same.
        labels: As `emorec prepare --labels`.
        people: As `emorec prepare --people`.
        seed: Of a split that has to be drawn.
        span: The span to read; -1 takes the newest.
        max_failed_share: Largest share of videos that may be unreadable.
        complete_splits: Splits that must hold every label: a class without
            clips is not learned, or counts 0 in MAP.
    """

    base: str = "."
    manifest: str = ""
    data: str = ""
    labels: str = "mec2017"
    people: str = "main"
    seed: int = 0
    span: int = -1
    max_failed_share: float = 0.1
    complete_splits: list = dataclasses.field(
        default_factory=lambda: ["train", "test"]
    )


@dataclasses.dataclass(frozen=True)
class EncoderSettings:
    """Where the frozen CNNs' weights come from; as `emorec train`'s flags.

    Attributes:
        face_weights: Weight file, or its folder; "" finds or downloads it.
        context_weights: The same.
        missing_weights: `error`, or `random` to try the software out.
    """

    face_weights: str = ""
    context_weights: str = ""
    missing_weights: str = "error"


@dataclasses.dataclass(frozen=True)
class TrainerSettings:
    """The Trainer.

    Attributes:
        system: The system's id.
        seed: Of initialisation, shuffling, sampling and dropout.
        warm_start: Begin from the weights of the last blessed model.
    """

    system: str = "caca_rnn_a"
    seed: int = 0
    warm_start: bool = False


@dataclasses.dataclass(frozen=True)
class TunerSettings:
    """The Tuner.

    Attributes:
        max_trials: Trials; 0 leaves the Tuner out.
        algorithm: `random` or `bayesian`.
        space: Field of the config -> a list of values, or a range
            {"min", "max", "log"}; empty is the Tuner's own.
    """

    max_trials: int = 0
    algorithm: str = "bayesian"
    space: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class EvaluatorSettings:
    """What a model must reach to be blessed.

    Attributes:
        split: The split that is measured.
        min_map: Least MAP, 0 to 1.
        min_accuracy: Least accuracy, 0 to 1.
        max_map_drop: How far MAP may lie below that of the last blessed
            model, 0 to 1.
    """

    split: str = "test"
    min_map: float = 0.0
    min_accuracy: float = 0.0
    max_map_drop: float = 0.0


@dataclasses.dataclass(frozen=True)
class ServingSettings:
    """The trial of the servable before it is pushed.

    Attributes:
        server: `auto` (tensorflow_model_server where it is on the PATH, else
            the embedded server), `embedded`, or the path of a binary.
        max_clips: Clips that are sent to each signature.
        tolerance: Largest difference of a probability.
        infra_validator: Run TFX's InfraValidator in its place, which needs
            Docker.
    """

    server: str = "auto"
    max_clips: int = 8
    tolerance: float = 1e-3
    infra_validator: bool = False


@dataclasses.dataclass(frozen=True)
class Settings:
    """All of `pipeline.json`.

    Attributes:
        pipeline_name: Lower-case letters, digits, `-` and `_`.
        pipeline_root: Where artifacts go.
        metadata_path: The SQLite file of ML Metadata.
        serving_dir: The base path that a model server reads.
        input: The clips.
        config: A part of `emorec.config.Config.to_dict()`.
        schema_file: A schema of your own; "" takes the committed one, with
            the labels of `input.labels`.
        encoders: The frozen CNNs' weights.
        trainer: The Trainer.
        tuner: The Tuner.
        evaluator: The thresholds.
        serving: The trial of the servable.
        inference_split: The split that BulkInferrer answers for.
        enable_cache: Whether a node whose inputs did not change is skipped.
        beam_pipeline_args: Apache Beam's own flags.
    """

    pipeline_name: str = "emorec"
    pipeline_root: str = "pipeline"
    metadata_path: str = "pipeline/metadata.sqlite"
    serving_dir: str = "serving/emotion"
    input: InputSettings = dataclasses.field(default_factory=InputSettings)
    config: dict = dataclasses.field(default_factory=dict)
    schema_file: str = ""
    encoders: EncoderSettings = EncoderSettings()
    trainer: TrainerSettings = TrainerSettings()
    tuner: TunerSettings = dataclasses.field(default_factory=TunerSettings)
    evaluator: EvaluatorSettings = EvaluatorSettings()
    serving: ServingSettings = ServingSettings()
    inference_split: str = "unlabelled"
    enable_cache: bool = True
    beam_pipeline_args: list = dataclasses.field(default_factory=list)

    def data_config(self) -> Config:
        """Returns the config of the records; other sections are defaults."""
        return Config.from_dict(_part(self.config, DATA_SECTIONS))

    def full_config(self) -> Config:
        """Returns the config of the whole run, but for the system's sizes."""
        return Config.from_dict(self.config)

    def override(self, assignments: list, beam_args: list) -> "Settings":
        """Returns a copy with fields of `config` and Beam's flags added.

        Args:
            assignments: `section.field=value`, as `--set` takes them.
            beam_args: Flags that follow `beam_pipeline_args`.
        """
        config = {k: dict(v) for k, v in self.config.items()}
        changed = self.full_config().override(assignments).to_dict()
        for text in assignments:
            section, _, field = text.partition("=")[0].strip().partition(".")
            config.setdefault(section, {})[field] = changed[section][field]
        return dataclasses.replace(
            self,
            config=config,
            beam_pipeline_args=[*self.beam_pipeline_args, *beam_args],
        )

    def assignments(self) -> list[str]:
        """Returns the Trainer's part of the config as `--set` assignments."""
        return [
            f"{section}.{field}={json.dumps(value)}"
            for section, fields in sorted(
                _part(self.config, TRAIN_SECTIONS).items()
            )
            for field, value in sorted(fields.items())
        ]


def _part(config: dict, sections) -> dict:
    return {k: v for k, v in config.items() if k in sections}


def load(path: str) -> Settings:
    """Reads `pipeline.json`.

    Raises:
        EmorecError: It is absent or no JSON object.
        ConfigError: A field is unknown, has another type, or a bad value.
    """
    values = files.read_json(
        path, "settings of a pipeline", "write one (README: The TFX pipeline)"
    )
    return resolve(values, os.path.dirname(os.path.abspath(path)))


def resolve(values: dict, folder: str) -> Settings:
    """Checks settings and makes their paths absolute.

    Args:
        values: The JSON object.
        folder: What relative paths are relative to.

    Raises:
        ConfigError: As `load`.
    """
    try:
        found = config_values.from_dict(Settings, values)
    except ConfigError as e:
        raise ConfigError(f"pipeline settings: {e}") from e
    _check(found)

    def absolute(text):
        if not text or files.is_remote(text):
            return text
        return os.path.normpath(os.path.join(folder, text))

    return dataclasses.replace(
        found,
        **{
            name: absolute(getattr(found, name))
            for name in (
                "pipeline_root",
                "metadata_path",
                "serving_dir",
                "schema_file",
            )
        },
        config=_with_paths(found.config, folder),
        input=dataclasses.replace(
            found.input,
            base=absolute(found.input.base),
            labels=_labels(found.input.labels, folder),
        ),
        serving=dataclasses.replace(
            found.serving, server=_server(found.serving.server, absolute)
        ),
        encoders=dataclasses.replace(
            found.encoders,
            face_weights=absolute(found.encoders.face_weights),
            context_weights=absolute(found.encoders.context_weights),
        ),
    )


def _with_paths(config: dict, folder: str) -> dict:
    """Makes encoders that are given by path absolute."""
    given = dict(config.get("features", {}))
    for name in ("face_encoder", "context_encoder"):
        path = os.path.join(folder, str(given.get(name, "")))
        if given.get(name) and os.path.exists(path):
            given[name] = os.path.normpath(path)
    return {**config, "features": given} if given else config


def _server(server: str, absolute) -> str:
    return server if server in ("auto", "embedded") else absolute(server)


def _labels(labels: str, folder: str) -> str:
    path = os.path.join(folder, labels)
    return os.path.normpath(path) if os.path.isfile(path) else labels


def _check(settings: Settings):
    name = settings.pipeline_name
    if not name or set(name) - set(_NAME_CHARACTERS):
        raise _bad("pipeline_name", "lower-case letters, digits, - and _", name)
    given = [k for k in ("manifest", "data") if getattr(settings.input, k)]
    if len(given) != 1:
        raise ConfigError(
            "pipeline settings: give one of `input.manifest` and `input.data`. "
            f"Received: {' and '.join(given) or 'none'}"
        )
    for field, low, high in (
        ("input.max_failed_share", 0, 1),
        ("evaluator.min_map", 0, 1),
        ("evaluator.min_accuracy", 0, 1),
        ("evaluator.max_map_drop", 0, 1),
        ("tuner.max_trials", 0, 10_000),
        ("serving.max_clips", 1, 1024),
        ("serving.tolerance", 0, 1),
    ):
        section, _, key = field.partition(".")
        value = getattr(getattr(settings, section), key)
        if not low <= value <= high:
            raise _bad(field, f"{low} to {high}", value)
    for field, choices in (
        ("input.people", ("main", "all")),
        ("encoders.missing_weights", ("error", "random")),
        ("tuner.algorithm", ("random", "bayesian")),
    ):
        section, _, key = field.partition(".")
        value = getattr(getattr(settings, section), key)
        if value not in choices:
            raise _bad(field, " or ".join(choices), value)
    for field, names, known in (
        ("evaluator.split", [settings.evaluator.split], LABELLED),
        ("input.complete_splits", settings.input.complete_splits, LABELLED),
        ("inference_split", [settings.inference_split], ("", *SPLITS)),
    ):
        for name in names:
            if name not in known:
                raise _bad(field, " or ".join(filter(None, known)), name)
    for flag in settings.beam_pipeline_args:
        if not isinstance(flag, str):
            raise _bad("beam_pipeline_args", "a list of flags", flag)
    config = settings.full_config()
    if config.model.system not in (
        Config().model.system,
        settings.trainer.system,
    ):
        raise _bad(
            "config.model.system",
            "left out: `trainer.system` names it",
            config.model.system,
        )


def _bad(field, rule, value) -> ConfigError:
    return ConfigError(
        f"pipeline settings: `{field}` must be {rule}. Received: {value!r}"
    )
