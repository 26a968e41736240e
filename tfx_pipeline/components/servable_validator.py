"""ServableValidator: real requests to a model server before a push.

In place of TFX's InfraValidator, which needs Docker and only looks whether a
model loads and answers at all. In any pipeline:

    validator = ServableValidator(
        model=trainer.outputs["model"], examples=example_gen.outputs["examples"]
    )
    Pusher(..., infra_blessing=validator.outputs["blessing"])
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from typing import Any, ClassVar

from absl import logging
from tfx import types
from tfx.dsl.components.base import (
    base_component,
    base_executor,
    executor_spec,
)
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import (
    ChannelParameter,
    ComponentSpec,
    ExecutionParameter,
)

from emorec.data import files
from emorec.errors import ConfigError, ModelError, ServerError
from serving.client.errors import BadRequest
from tfx_pipeline import (
    candidates,
    servable_check,
    servable_judges,
    servable_requests,
    servable_server,
)
from tfx_pipeline.code_hash import code_hash

REPORT = "report.json"
REASON = "reason"
# What TFX's InfraValidator leaves, and Pusher looks for.
_BLESSED = "blessed"
_MARKS = {True: "INFRA_BLESSED", False: "INFRA_NOT_BLESSED"}
_VERSION = "1"
_CODE = (
    "emorec/config.py",
    "emorec/config_check.py",
    "emorec/config_values.py",
    "emorec/data",
    "emorec/export/names.py",
    "emorec/signals.py",
    "serving",
    "tfx_pipeline/candidates.py",
    "tfx_pipeline/components/servable_validator.py",
    "tfx_pipeline/servable_check.py",
    "tfx_pipeline/servable_judges.py",
    "tfx_pipeline/servable_requests.py",
    "tfx_pipeline/servable_server.py",
)


class Executor(base_executor.BaseExecutor):
    """Tries a candidate on a model server, and blesses or refuses it."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """See `ServableValidator`; a refusal is a result, not an error.

        Raises:
            UsageError: The server's binary is not there.
            ServerError: The server failed, not the model: it did not start,
                ended, or did not answer in time.
            RecordError: There is no example to send, or files are damaged.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        model = artifact_utils.get_single_instance(input_dict["model"])
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        binary = servable_server.binary_of(exec_properties["server"])
        deadline = servable_server.Deadline(exec_properties["deadline_s"])
        path = candidates.saved_model_path(model)
        trial = servable_check.Trial(tolerance=exec_properties["tolerance"])
        try:
            described = candidates.description(path)
        except ModelError as e:
            trial.error = str(e)
        else:
            samples = _samples(described, input_dict, exec_properties)
            if samples.expected is not None:
                trial.compared_with = servable_check.TRAINER
            with _copied(path) as base:
                _try(trial, base, binary, described, samples, deadline)
        _mark(blessing, trial)


def _samples(described, input_dict, exec_properties):
    """Finds the clips to send."""
    examples = artifact_utils.get_single_instance(input_dict["examples"])
    split, count = exec_properties["split"], exec_properties["max_clips"]
    if described is None:
        return servable_requests.raw(examples, split, count)
    features, model_run = (
        artifact_utils.get_single_instance(input_dict[key])
        if input_dict.get(key)
        else None
        for key in ("features", "model_run")
    )
    return servable_requests.gather(
        examples, features, model_run, split=split, max_clips=count
    )


def _try(trial, base, binary, described, samples, deadline) -> None:
    """Serves the candidate and asks it.

    Raises:
        ServerError: The server failed, or was too slow, with a model that
            loads here. That is no word on the model: TFX would keep a
            refusal, and not try again once the server is mended.
    """
    folder = os.path.join(base, _VERSION)
    try:
        with servable_server.serve(base, binary, deadline) as server:
            servable_check.run(
                trial, server, folder, described, samples, deadline
            )
    except (ModelError, ConfigError, BadRequest) as e:
        trial.error = " ".join(str(e).split())
    except ServerError as e:
        said = " ".join(str(e).split())
        fault = servable_judges.Reference(folder).fault()
        if fault is None:
            raise ServerError(
                f"the trial of the servable: {said}; the model loads "
                "without that server, so mend the server and run again"
            ) from e
        trial.error = f"{said} ({fault})"


@contextlib.contextmanager
def _copied(path: str) -> Iterator[str]:
    """Gives a local base path with a SavedModel as its version 1.

    Also where it is local: a server may write beside what it reads, and a
    server's own user may not enter an artifact's folder.
    """
    with tempfile.TemporaryDirectory(prefix="servable-") as base:
        files.copy_tree(path, os.path.join(base, _VERSION))
        yield base


def _mark(blessing: types.Artifact, trial: servable_check.Trial) -> None:
    """Writes the report, and marks as TFX's InfraValidator does."""
    files.write_json(f"{blessing.uri}/{REPORT}", trial.to_dict())
    with files.atomic(f"{blessing.uri}/{_MARKS[trial.blessed]}") as mark:
        mark.touch()
    blessing.set_int_custom_property(_BLESSED, int(trial.blessed))
    blessing.set_string_custom_property(REASON, trial.reason)
    log = logging.info if trial.blessed else logging.warning
    verdict = "blessed" if trial.blessed else "refused"
    log("the servable is %s: %s", verdict, trial.reason)


class ServableValidatorSpec(ComponentSpec):
    """ComponentSpec of `ServableValidator`."""

    PARAMETERS: ClassVar = {
        "max_clips": ExecutionParameter(type=int),
        "tolerance": ExecutionParameter(type=float),
        "server": ExecutionParameter(type=str),
        "split": ExecutionParameter(type=str),
        "deadline_s": ExecutionParameter(type=float),
        "code": ExecutionParameter(type=str),
    }
    INPUTS: ClassVar = {
        "model": ChannelParameter(type=standard_artifacts.Model),
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "features": ChannelParameter(
            type=standard_artifacts.Examples, optional=True
        ),
        "model_run": ChannelParameter(
            type=standard_artifacts.ModelRun, optional=True
        ),
    }
    OUTPUTS: ClassVar = {
        "blessing": ChannelParameter(type=standard_artifacts.InfraBlessing)
    }


class ServableValidator(base_component.BaseComponent):
    """Starts a model server on a candidate and sends it real examples.

    A model of emorec is asked through every signature, one clip alone and
    several together, and its probabilities are held against the trainer's
    predictions. Of any other SavedModel, each signature whose one input is
    string [B] is sent the serialized examples, and all that it answers is
    held against the same SavedModel in the executor's process.

    Output `blessing` is an InfraBlessing as TFX's InfraValidator makes it,
    for Pusher's `infra_blessing`. Its custom property `reason` says in one
    line why the model was blessed or refused; `report.json` has the server
    and each signature's requests, clips, largest difference and seconds.

    A server that does not start, ends or does not answer in time is an error
    of the run and not of the model: nothing is blessed, refused or cached.

    The server is `tensorflow_model_server` where there is one, which listens
    on all addresses of its machine for these seconds; else the embedded one,
    on loopback.
    """

    SPEC_CLASS = ServableValidatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        model: types.BaseChannel,
        examples: types.BaseChannel,
        features: types.BaseChannel | None = None,
        model_run: types.BaseChannel | None = None,
        max_clips: int = 8,
        tolerance: float = 1e-3,
        server: str = servable_server.AUTO,
        split: str = "",
        deadline_s: float = 300.0,
    ):
        """Wires the component.

        Args:
            model: The candidate (`Model`).
            examples: For a model of emorec its records of frames, else
                whatever the model takes (`Examples`, TFRecord).
            features: Records of features of the same clips
                (`FeatureExtractor`); None leaves their signatures untried.
            model_run: The Trainer's, with `predictions.json`; None compares
                with the SavedModel in the executor's process.
            max_clips: Most records that a signature is sent.
            tolerance: Largest difference of a probability; of other numbers,
                as a share of the largest one.
            server: `auto`, `embedded`, or the path of a
                `tensorflow_model_server` on the machine that runs this.
            split: Where records are looked for; "" takes the split of the
                trainer's predictions, else one that the model did not learn
                from.
            deadline_s: Longest time of the trial in seconds. (The embedded
                server cannot be stopped while it loads.)

        Raises:
            ConfigError: A number is out of range.
        """
        for name, value, low, high in (
            ("max_clips", max_clips, 1, 1024),
            ("tolerance", tolerance, 0, 1),
            ("deadline_s", deadline_s, 1, 86400),
        ):
            if not low <= value <= high:
                raise ConfigError(
                    f"ServableValidator: `{name}` must be {low} to {high}. "
                    f"Received: {value}"
                )
        spec = ServableValidatorSpec(
            model=model,
            examples=examples,
            features=features,
            model_run=model_run,
            max_clips=max_clips,
            tolerance=float(tolerance),
            server=server,
            split=split,
            deadline_s=float(deadline_s),
            code=code_hash(*_CODE),
            blessing=types.Channel(type=standard_artifacts.InfraBlessing),
        )
        super().__init__(spec=spec)
