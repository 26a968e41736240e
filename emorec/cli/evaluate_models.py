"""The models that `emorec evaluate` asks, wherever they are."""

import dataclasses
import os
import re
from collections.abc import Callable

from absl import flags

from emorec.cli import options, server_flags
from emorec.config import Config
from emorec.errors import UsageError
from emorec.labels import LabelSet

# HOST:PORT or HOST:PORT/MODEL_NAME; an IPv6 host in brackets.
_SERVER = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^/:\[\]]+):(\d+)(?:/([^/]+))?")


@dataclasses.dataclass(frozen=True)
class Model:
    """A model that can be asked for a split.

    Attributes:
        name: As the user named it.
        config: How clips must be cut for it.
        labels: Its labels.
        description: `Bundle.describe()`.
        predict: Called with (data set, split, progress); returns
            `evaluate.ClipPrediction`s.
    """

    name: str
    config: Config
    labels: LabelSet
    description: dict
    predict: Callable


def of_flags(holders: dict[str, flags.FlagHolder]) -> Model:
    """Opens the model that the flags of `options.define_backend` name."""
    kind = options.one_of(holders, *options.BACKENDS)
    name = holders[kind].value
    if kind == "model_dir":
        return _of_folder(name)
    if kind == "server":
        name = f"{name}/{holders['model_name'].value}"
    return _of_backend(name, options.make_backend(holders))


def of_text(text: str, holders: dict[str, flags.FlagHolder]) -> Model:
    """Opens a model that is told apart by what it is.

    Args:
        text: A model folder, a SavedModel, an ONNX directory, or a server.
        holders: Say how a server is asked.

    Raises:
        UsageError: It is a preset.
        EmorecError: There is no model.
    """
    from emorec import load_backend, preset_models
    from emorec.data import files

    server = None if os.path.exists(text) else _SERVER.fullmatch(text)
    if server:
        from emorec.cli.server_backend import ServerBackend

        host, port, model = server.groups()
        backend = ServerBackend(
            f"{host}:{port}",
            model or holders["model_name"].value,
            holders["timeout"].value,
            **server_flags.security(holders),
        )
        return _of_backend(text, backend)
    if files.exists(files.join(text, "model.json")):
        return _of_folder(text)
    if text in preset_models.PRESETS:
        raise UsageError(
            f"`--compare` takes trained models. Received: {text!r}; train the "
            "system face_average, which is the same"
        )
    return _of_backend(text, load_backend.load(text))


def _of_folder(folder) -> Model:
    from emorec.evaluation import evaluate
    from emorec.training import bundle

    made = bundle.load(folder)
    return Model(
        folder,
        made.config,
        made.labels,
        made.describe(),
        lambda data, split, progress: evaluate.with_bundle(
            data, split, made, progress=progress
        ),
    )


def _of_backend(name, backend) -> Model:
    from emorec.evaluation import evaluate

    return Model(
        name,
        backend.config,
        backend.labels,
        backend.description,
        lambda data, split, progress: evaluate.with_backend(
            data, split, backend, progress=progress
        ),
    )


def notes(models: list[Model]) -> list[str]:
    """Returns what has to be known of the answers, with whose they are."""
    found = []
    for letter, model in zip("AB", models, strict=True):
        streams = model.description["random_weights"]
        if streams:
            found.append(
                f"{letter}: the {' and '.join(streams)} encoder has RANDOM "
                "frozen weights; answers say nothing about emotion"
            )
        for note in model.description["info"].get("notes", []):
            found.append(f"{letter}: {note}")
    return found
