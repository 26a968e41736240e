"""What is wrong with a config file of the model server."""

import os

from emorec.errors import UsageError
from serving.configs import plan as plans
from serving.configs import schemas, tls

# A word of the file's name says what it is.
_WORDS = {
    "models": ("models",),
    "batching": ("batching",),
    "monitoring": ("monitoring",),
    "ssl": ("ssl",),
}
_ENDINGS = (".config", ".txt", ".pbtxt", ".textproto")


def kind_of(path: str) -> str:
    """Returns which config a file is by its name, or ""."""
    name = os.path.basename(path)
    if not name.endswith(_ENDINGS):
        return ""
    for kind, words in _WORDS.items():
        if any(word in name for word in words):
            return kind
    return ""


def check_config(kind: str, text: str, source: str) -> list[str]:
    """Checks the text of one config file.

    Args:
        kind: One of `schemas.KINDS`.
        text: Its text.
        source: Where it is from, for a text that does not parse.

    Returns:
        What is wrong, without the file's name.

    Raises:
        UsageError: It does not parse.
    """
    message = schemas.parse(kind, text, source)
    return {
        "models": _models,
        "batching": _batching,
        "monitoring": _monitoring,
        "ssl": _ssl,
    }[kind](message)


def _models(config) -> list[str]:
    if config.WhichOneof("config") != "model_config_list":
        return ["has no `model_config_list`: the server would load nothing"]
    models = config.model_config_list.config
    if not models:
        return ["`model_config_list` names no model"]
    findings = []
    names = [model.name for model in models]
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            findings.append(f"model {name!r} is listed more than once")
    for model in models:
        findings += [f"model {model.name!r}: {x}" for x in _model(model)]
    return findings


def _model(model) -> list[str]:
    findings = []
    if not model.name or set(model.name) & set("/:"):
        findings.append("`name` must be text without `/` and `:`")
    if not (model.base_path.startswith("/") or plans.is_uri(model.base_path)):
        findings.append(
            "`base_path` must be an absolute path or a URI. "
            f"Received: {model.base_path!r}"
        )
    # `model_type` is what `model_platform` was called before.
    if model.model_platform != "tensorflow" and model.model_type != 1:
        findings.append(
            "`model_platform` must be 'tensorflow'. "
            f"Received: {model.model_platform!r}"
        )
    served = _served(model)
    for label, version in sorted(model.version_labels.items()):
        if served is not None and version not in served:
            findings.append(
                f"label {label!r} is version {version}, which is not served: "
                f"the version policy gives {served or 'none'}"
            )
    if model.HasField("logging_config"):
        findings += _logging(model.logging_config)
    return findings


def _served(model) -> list[int] | None:
    """Returns the versions that the policy gives, None where none can tell."""
    policy = model.model_version_policy
    choice = policy.WhichOneof("policy_choice")
    if choice == "specific":
        return list(policy.specific.versions)
    if not os.path.isdir(model.base_path):
        return None  # Of another machine, or not there yet.
    found = sorted(
        int(name)
        for name in os.listdir(model.base_path)
        if name.isascii() and name.isdigit()
    )
    if choice == "all":
        return found
    return found[-(policy.latest.num_versions or 1) :]


def _logging(config) -> list[str]:
    findings = []
    rate = config.sampling_config.sampling_rate
    if not 0 < rate <= 1:
        findings.append(
            "`sampling_rate` must be above 0 and at most 1, or nothing is "
            f"logged. Received: {rate}"
        )
    try:
        plans.check_log_prefix(config.log_collector_config.filename_prefix)
    except UsageError as e:
        findings.append(str(e))
    return findings


def _batching(params) -> list[str]:
    try:
        schemas.check_batching(params)
    except UsageError as e:
        return [str(e)]
    return []


def _monitoring(config) -> list[str]:
    prometheus = config.prometheus_config
    if prometheus.path and not prometheus.path.startswith("/"):
        return [f"`path` must begin with `/`. Received: {prometheus.path!r}"]
    return []


def _ssl(config) -> list[str]:
    if not config.server_key or not config.server_cert:
        return ["`server_key` and `server_cert` must both be PEM texts"]
    fault = tls.fault(config.server_key, config.server_cert, config.custom_ca)
    findings = [f"`server_key` and `server_cert`: {fault}"] if fault else []
    if config.client_verify and not config.custom_ca:
        findings.append(
            "`client_verify` needs `custom_ca`, the authority that the "
            "clients' certificates are from"
        )
    return findings
