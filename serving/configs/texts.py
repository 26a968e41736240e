"""The config files and command lines of a plan, as text."""

import shlex

from serving.configs import plan as plans
from serving.configs import schemas
from serving.configs.tls import Tls

# For CPUs: one batch a CPU. On one GPU the second batch is copied while the
# first is computed; more threads only wait.
GPU_BATCH_THREADS = 2
# What requests are padded up to: the sizes of the export's warmup requests
# (`emorec.export.warmup.BATCH_SIZES`; a test compares the two). With a smaller
# maximum the server refuses the largest of those, and with it the version.
BATCH_SIZES = (1, 2, 4, 8, 16, 32)

_MODELS = """\
# Models that the server loads: --model_config_file.
# A folder's newest version is served unless a version policy says otherwise.
"""
_LABELS = """\
# Labels name versions for clients (/v1/models/NAME/labels/LABEL). At start
# they need --allow_version_labels_for_unavailable_models.
"""
_LOGGED = """\
# With request logs: for emorec's embedded server only. The open source
# tensorflow_model_server has no log collector, and with a logging_config it
# ends at start with `No request-logger-creator provided.` (its issues #408
# and #1846; not tried here). The files hold what clients send: faces.
"""
_UNMEASURED = """\
# --enable_batching --batching_parameters_file. Defaults, NOT MEASURED on any
# machine: `emorec tune_batching` measures, and `emorec serving_config
# --batching_parameters_file=FILE` takes its file over.
#
# Requests of one signature are joined. Where those that meet in a batch have
# different numbers of frames, all of them are refused (FAILED_PRECONDITION):
# send records (serving_default, classify), or pad every request to one number
# of frames. Do not set pad_variable_length_inputs: the server pads with an
# input's FIRST value, so a mask would become True and a frame be repeated,
# and the answer be wrong without a word.
# The sizes are those of the warmup requests of `emorec export`. A smaller
# max_batch_size needs an export with smaller ones: the server refuses the
# largest (Task size 32 is larger than ...), and with it the version.
"""
_MONITORING = """\
# Prometheus metrics on the REST port: --monitoring_config_file.
"""
_SSL = """\
# TLS for gRPC: --ssl_config_file. Holds the private key: for the server's
# user alone (0600). REST has no TLS: keep its port inside.
"""


def models_text(
    plan: plans.Plan, logged: bool = False, prefix: str = ""
) -> str:
    """Returns models.config.

    Args:
        plan: The plan.
        logged: Whether requests are logged.
        prefix: Folder that holds the models by their names, as a volume in a
            container does; "" leaves their paths as they are.
    """
    config = schemas.message_class("models")()
    config.model_config_list.SetInParent()
    for model in plan.models:
        one = config.model_config_list.config.add(
            name=model.name,
            base_path=container_path(model, prefix),
            model_platform="tensorflow",
        )
        policy = one.model_version_policy
        if model.versions:
            policy.specific.versions.extend(model.versions)
        elif model.latest:
            policy.latest.num_versions = model.latest
        else:
            policy.all.SetInParent()
        one.version_labels.update(dict(model.labels))
        if logged:
            collector = one.logging_config.log_collector_config
            collector.type = "tfrecord"
            collector.filename_prefix = plan.log_prefix
            sampling = one.logging_config.sampling_config
            sampling.sampling_rate = plan.sampling_rate
    head = _MODELS + (_LABELS if plan.has_labels else "")
    return head + (_LOGGED if logged else "") + schemas.to_text(config)


def container_path(model: plans.ServedModel, prefix: str) -> str:
    """Returns where a container sees a model's base path."""
    if not prefix or plans.is_uri(model.base_path):
        return model.base_path
    return f"{prefix}/{model.name}"


def batching_text(plan: plans.Plan, gpu: bool = False) -> str:
    """Returns batching_parameters.txt: the measured one, or the defaults."""
    if plan.batching:
        return plan.batching
    params = schemas.message_class("batching")()
    params.max_batch_size.value = BATCH_SIZES[-1]
    params.batch_timeout_micros.value = 1000
    params.max_enqueued_batches.value = 100
    params.num_batch_threads.value = GPU_BATCH_THREADS if gpu else plan.cpus
    params.allowed_batch_sizes.extend(BATCH_SIZES)
    return _UNMEASURED + schemas.to_text(params)


def monitoring_text() -> str:
    """Returns monitoring.config."""
    config = schemas.message_class("monitoring")()
    config.prometheus_config.enable = True
    config.prometheus_config.path = plans.METRICS_PATH
    return _MONITORING + schemas.to_text(config)


def ssl_text(tls: Tls) -> str:
    """Returns ssl.config, with the private key in it."""
    config = schemas.message_class("ssl")(
        server_key=tls.key,
        server_cert=tls.cert,
        custom_ca=tls.ca,
        client_verify=tls.client_verify,
    )
    return _SSL + schemas.to_text(config)


def server_args(
    plan: plans.Plan,
    folder: str,
    *,
    models: str = "models.config",
    batching: str = "batching_parameters.txt",
    ssl_path: str = "",
) -> list[str]:
    """Returns the flags of a model server that reads files of `folder`.

    Args:
        plan: The plan.
        folder: Where the server sees the config files.
        models: Name of models.config.
        batching: Name of the batching file.
        ssl_path: Path of ssl.config; "" is in `folder`.
    """
    args = [
        f"--port={plan.port}",
        f"--rest_api_port={plan.rest_port}",
        f"--model_config_file={folder}/{models}",
        "--enable_batching=true",
        f"--batching_parameters_file={folder}/{batching}",
        f"--monitoring_config_file={folder}/monitoring.config",
    ]
    if plan.tls:
        path = ssl_path or f"{folder}/ssl.config"
        args.append(f"--ssl_config_file={path}")
    if plan.has_labels:
        args.append("--allow_version_labels_for_unavailable_models=true")
    return [*args, "--enable_grpc_healthcheck_service=true"]


def commands_text(plan: plans.Plan, folder: str) -> str:
    """Returns the command lines that start a server with these files.

    Args:
        plan: The plan.
        folder: Absolute path of the files.
    """
    args = server_args(plan, folder)
    blocks = [
        (
            "The model server. It listens on every address of this machine.",
            _line("tensorflow_model_server", args),
        ),
        (
            "Through emorec: that server where it is on the PATH, else the "
            "embedded one,\n# which listens on loopback.",
            _line("emorec serve", args),
        ),
    ]
    if plan.log_prefix:
        logged = server_args(plan, folder, models="models.logged.config")
        blocks.append(
            (
                "With request logs: the embedded server alone can.",
                _line("emorec serve --embedded", logged),
            )
        )
    for title, start, name, end in (
        ("Docker", "docker compose -f", "docker-compose.{}.yml", " up"),
        ("Kubernetes", "kubectl apply -f", "kubernetes.{}.yaml", ""),
    ):
        for kind in ("cpu", "gpu"):
            path = shlex.quote(f"{folder}/{name.format(kind)}")
            blocks.append((f"{title}, {kind.upper()}.", f"{start} {path}{end}"))
    return "\n".join(f"# {title}\n{line}\n" for title, line in blocks)


def _line(command: str, args: list[str]) -> str:
    return " \\\n    ".join([command, *map(shlex.quote, args)])
