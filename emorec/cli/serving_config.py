"""emorec serving_config: the files of a model server, written and checked.

  emorec serving_config --output_dir=deploy --model emotion=/models/emotion
  emorec serving_config --check deploy

Writes models.config, the batching, monitoring and TLS files, a Docker compose
file and Kubernetes manifests, for CPU and for GPU, and COMMANDS.txt with the
command lines that start a server with them. With --check, says what is wrong
with such files, a line each; exit code 1 if there is anything.
"""

import os
import sys

from absl import flags

from emorec.cli import options
from emorec.errors import UsageError

FLAGS = flags.FlagValues()
_OUTPUT = flags.DEFINE_string(
    "output_dir", None, "The folder of the files.", flag_values=FLAGS
)
_OVERWRITE = flags.DEFINE_bool(
    "overwrite",
    False,
    "Replace files that are there with another text.",
    flag_values=FLAGS,
)
_CHECK = flags.DEFINE_bool(
    "check",
    False,
    "Write nothing; check the files, or the folders of files, that follow.",
    flag_values=FLAGS,
)
_MODELS = flags.DEFINE_multi_string(
    "model",
    [],
    "NAME=/base/path of a model; may be given several times.",
    flag_values=FLAGS,
)
_VERSIONS = flags.DEFINE_multi_string(
    "versions",
    [],
    "Versions that are served: NAME=latest:2, NAME=all, NAME=3,4. By default "
    "the newest one; of a model with labels, the labelled ones.",
    flag_values=FLAGS,
)
_LABELS = flags.DEFINE_multi_string(
    "label",
    [],
    "NAME:LABEL=VERSION, for example emotion:stable=3 emotion:canary=4.",
    flag_values=FLAGS,
)
_BATCHING = flags.DEFINE_string(
    "batching_parameters_file",
    None,
    "A measured file, of `emorec tune_batching`; without it the defaults are "
    "written, and said to be unmeasured.",
    flag_values=FLAGS,
)
_TLS_KEY = flags.DEFINE_string(
    "tls_key", None, "The server's private key, PEM.", flag_values=FLAGS
)
_TLS_CERT = flags.DEFINE_string(
    "tls_cert", None, "The server's certificate, PEM.", flag_values=FLAGS
)
_TLS_CA = flags.DEFINE_string(
    "tls_ca",
    None,
    "The authority of the clients' certificates, PEM.",
    flag_values=FLAGS,
)
_CLIENT_VERIFY = flags.DEFINE_bool(
    "client_verify",
    False,
    "Refuse clients without a certificate of --tls_ca.",
    flag_values=FLAGS,
)
_LOG_PREFIX = flags.DEFINE_string(
    "request_log_prefix",
    None,
    "Absolute path that logs of requests begin with. Written into a file of "
    "its own, models.logged.config, for the embedded server.",
    flag_values=FLAGS,
)
_SAMPLING = flags.DEFINE_float(
    "sampling_rate",
    0.1,
    "Share of the requests that is logged.",
    flag_values=FLAGS,
)
_PORT = flags.DEFINE_integer("port", 8500, "gRPC port.", flag_values=FLAGS)
_REST_PORT = flags.DEFINE_integer(
    "rest_api_port", 8501, "REST port.", flag_values=FLAGS
)
_APP = flags.DEFINE_string(
    "app",
    "emotion-server",
    "Name of the container and of the Kubernetes objects.",
    flag_values=FLAGS,
)
_CLAIM = flags.DEFINE_string(
    "model_claim",
    "emotion-models",
    "Kubernetes: the PersistentVolumeClaim with a folder for each model.",
    flag_values=FLAGS,
)
_CPUS = flags.DEFINE_integer(
    "cpus", 4, "CPUs of one container.", flag_values=FLAGS
)
_MEMORY = flags.DEFINE_string(
    "memory", "4Gi", "Memory of one container.", flag_values=FLAGS
)
_MIN = flags.DEFINE_integer(
    "min_replicas", 2, "Kubernetes: fewest pods.", flag_values=FLAGS
)
_MAX = flags.DEFINE_integer(
    "max_replicas", 8, "Kubernetes: most pods.", flag_values=FLAGS
)
_RATE = flags.DEFINE_integer(
    "requests_per_second",
    20,
    "Kubernetes: load of one pod, in requests a second, that the autoscaler "
    "aims at. Take it from `emorec loadtest`.",
    flag_values=FLAGS,
)
_FRACTION = flags.DEFINE_float(
    "gpu_memory_fraction",
    0.9,
    "Share of the GPU's memory that a server may take.",
    flag_values=FLAGS,
)


def main(args: list[str]) -> int:
    if _CHECK.value:
        return _check(args)
    options.no_arguments(args)
    if not _OUTPUT.value:
        raise UsageError("name --output_dir for the files, or --check them")

    from serving.configs import folder

    plan = _plan()
    with options.output_dir(_OUTPUT.value):
        new = folder.write(plan, _OUTPUT.value, _OVERWRITE.value)
    for name in new:
        print(os.path.join(_OUTPUT.value, name))
    for model in plan.models:
        if model.base_path.startswith("/") and (
            not os.path.isdir(model.base_path)
        ):
            print(
                f"note: {model.base_path} is not on this machine; a server "
                "waits for it"
            )
    if not new:
        print(f"{_OUTPUT.value}: all files are there already, with this text")
    return 0


def _check(paths: list[str]) -> int:
    if not paths:
        raise UsageError("--check needs files or folders of them")

    from serving.deploy import check

    findings = check.check(paths)
    for line in findings:
        print(line, file=sys.stderr)
    if findings:
        return 1
    print(f"{', '.join(paths)}: nothing found")
    return 0


def _plan():
    from serving.configs import plan as plans
    from serving.configs import schemas
    from serving.configs import tls as pem

    tls = None
    # "" is a mistake, such as a variable that is not set: never no TLS.
    if _TLS_KEY.value is not None or _TLS_CERT.value is not None:
        if not (_TLS_KEY.value and _TLS_CERT.value):
            raise UsageError("--tls_key and --tls_cert belong together")
        tls = pem.read(
            _TLS_KEY.value,
            _TLS_CERT.value,
            _TLS_CA.value or "",
            _CLIENT_VERIFY.value,
        )
    elif _TLS_CA.value or _CLIENT_VERIFY.value:
        raise UsageError(
            "--tls_ca and --client_verify need --tls_key and --tls_cert"
        )
    batching = ""
    if _BATCHING.value:
        batching = schemas.read_text(_BATCHING.value)
        params = schemas.parse("batching", batching, _BATCHING.value)
        schemas.check_batching(params, _BATCHING.value)
    return plans.Plan(
        models=plans.parse_models(
            _MODELS.value, _VERSIONS.value, _LABELS.value
        ),
        batching=batching,
        tls=tls,
        log_prefix=_LOG_PREFIX.value or "",
        sampling_rate=_SAMPLING.value,
        port=_PORT.value,
        rest_port=_REST_PORT.value,
        app=_APP.value,
        model_claim=_CLAIM.value,
        cpus=_CPUS.value,
        memory=_MEMORY.value,
        min_replicas=_MIN.value,
        max_replicas=_MAX.value,
        requests_per_second=_RATE.value,
        gpu_memory_fraction=_FRACTION.value,
    )
