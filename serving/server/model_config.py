"""ModelServerConfig: which models are served, and what their labels mean."""

import os
from collections.abc import Callable, Mapping

import grpc
from tensorflow_serving.config import model_server_config_pb2

from serving.configs.plan import is_uri
from serving.server.status import StatusError, invalid

ModelConfig = model_server_config_pb2.ModelConfig
ModelServerConfig = model_server_config_pb2.ModelServerConfig

PLATFORM = "tensorflow"
# Versions by label, by model.
Labels = dict[str, dict[str, int]]


def single(name: str, base_path: str) -> ModelServerConfig:
    """Returns the config of one model.

    Args:
        name: What clients ask for.
        base_path: The folder of version folders; a path is made absolute.
    """
    if not is_uri(base_path):
        base_path = os.path.abspath(base_path)
    config = ModelServerConfig()
    config.model_config_list.config.add(
        name=name, base_path=base_path, model_platform=PLATFORM
    )
    return config


def check(config: ModelServerConfig) -> list[ModelConfig]:
    """Returns the models of a config, checked as the real server does.

    Raises:
        StatusError: INVALID_ARGUMENT, in the real server's words: another
            type of config, a name that is there twice, a base path that is
            relative, no platform or an unknown one.
    """
    if config.WhichOneof("config") != "model_config_list":
        raise invalid(
            "ServerModelConfig type not supported by HandleReloadConfigRequest."
            " Only ModelConfigList is currently supported"
        )
    models = list(config.model_config_list.config)
    names = set()
    for model in models:
        if model.name in names:
            raise invalid(
                f"Illegal to list model {model.name} multiple times in config "
                "list"
            )
        names.add(model.name)
    for model in models:
        path = model.base_path
        if not (path.startswith("/") or is_uri(path)):
            raise invalid(
                f"Expected model {model.name} to have an absolute path or URI;"
                f" got base_path()={path}"
            )
    for model in models:
        _check_platform(model)
    if "" in names:
        # The real server takes it; no request could ever name it.
        raise invalid("ModelConfig has no name specified.")
    return models


def _check_platform(model: ModelConfig) -> None:
    platform = model.model_platform
    if model.model_type:
        if platform:
            raise invalid(
                "Illegal setting both ModelServerConfig::model_type "
                "(deprecated) and ModelServerConfig::model_platform, model "
                f"name is {model.name}"
            )
        if model.model_type != model_server_config_pb2.TENSORFLOW:
            raise invalid(
                f"ModelServerConfig::model_type choice {model.model_type} not "
                "supported."
            )
        platform = PLATFORM
    if not platform:
        raise invalid(
            "Illegal setting neither ModelServerConfig::model_type "
            "(deprecated) nor ModelServerConfig::model_platform, model name "
            f"is {model.name}"
        )
    if platform != PLATFORM:
        raise invalid(
            f"Model {model.name} requests unsupported platform {platform}"
        )


def labels(
    models: list[ModelConfig],
    before: Mapping[str, Mapping[str, int]],
    is_available: Callable[[str, int], bool],
    allow_unavailable: bool,
) -> Labels:
    """Returns the labels of a config.

    A label may only go to a version that is available now. With
    `allow_unavailable`, the flag, a label that is new, or that stays where it
    is, may go to any.

    Args:
        models: What `check` gives.
        before: The labels until now.
        is_available: Whether a version of a model is available.
        allow_unavailable: --allow_version_labels_for_unavailable_models.

    Raises:
        StatusError: FAILED_PRECONDITION, the version is not available.
    """
    found: Labels = {}
    for model in models:
        found[model.name] = dict(model.version_labels)
        for label, version in sorted(model.version_labels.items()):
            has_moved = (
                before.get(model.name, {}).get(label, version) != version
            )
            if allow_unavailable and not has_moved:
                continue
            if not is_available(model.name, version):
                raise StatusError(
                    grpc.StatusCode.FAILED_PRECONDITION,
                    f"Request to assign label to version {version} of model "
                    f"{model.name}, which is not currently available for "
                    "inference",
                )
    return found
