"""What a set of server files is made of: models, ports, TLS, resources."""

import dataclasses
import re
from collections.abc import Sequence

from emorec.errors import UsageError
from serving.configs.tls import Tls

# Of the TensorFlow in setup.py, whose SavedModels it has to load: the only
# place of the version. A test compares the two.
IMAGE = "tensorflow/serving:2.16.1"
GPU_IMAGE = f"{IMAGE}-gpu"
METRICS_PATH = "/monitoring/prometheus/metrics"

# Letters that are the same in a URL, a shell, YAML and protobuf text.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
# A Kubernetes name, with room for what is put behind it.
_DNS_NAME = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")
_MEMORY = re.compile(r"[1-9][0-9]{0,5}(Mi|Gi)")


@dataclasses.dataclass(frozen=True)
class ServedModel:
    """One model of models.config.

    Attributes:
        name: What clients ask for.
        base_path: Absolute path or URI of the folder of version folders.
        latest: How many of the newest versions are served; 0 for all, or
            for those of `versions`.
        versions: The versions that are served; () for `latest` or all.
        labels: Pairs of a label and its version.
    """

    name: str
    base_path: str
    latest: int = 1
    versions: tuple[int, ...] = ()
    labels: tuple[tuple[str, int], ...] = ()


@dataclasses.dataclass(frozen=True)
class Plan:
    """All that the files depend on.

    Attributes:
        models: At least one.
        batching: Text of a measured batching file; "" writes the defaults.
        tls: None leaves gRPC unencrypted.
        log_prefix: Absolute path that request logs begin with; "" for none.
        sampling_rate: Share of the requests that is logged, above 0 to 1.
        port: gRPC port.
        rest_port: REST port.
        app: Name of the Kubernetes objects.
        model_claim: PersistentVolumeClaim with the models, a folder each.
        cpus: CPUs of one container.
        memory: Memory of one container: `4Gi`.
        min_replicas: Fewest pods.
        max_replicas: Most pods.
        requests_per_second: Load of one pod that the autoscaler aims at.
        gpu_memory_fraction: Share of the GPU's memory that a server may take.
    """

    models: tuple[ServedModel, ...]
    batching: str = ""
    tls: Tls | None = None
    log_prefix: str = ""
    sampling_rate: float = 0.1
    port: int = 8500
    rest_port: int = 8501
    app: str = "emotion-server"
    model_claim: str = "emotion-models"
    cpus: int = 4
    memory: str = "4Gi"
    min_replicas: int = 2
    max_replicas: int = 8
    requests_per_second: int = 20
    gpu_memory_fraction: float = 0.9

    def __post_init__(self):
        """Raises UsageError where a value does not fit."""
        if not self.models:
            raise UsageError("name a model: --model=NAME=/path/of/it")
        names = [model.name for model in self.models]
        for name in names:
            if names.count(name) > 1:
                raise UsageError(f"`--model` names {name!r} more than once")
        for flag, value, low, high in (
            ("port", self.port, 1, 65535),
            ("rest_api_port", self.rest_port, 1, 65535),
            ("cpus", self.cpus, 1, 1024),
            ("min_replicas", self.min_replicas, 1, self.max_replicas),
            ("max_replicas", self.max_replicas, 1, 10_000),
            ("requests_per_second", self.requests_per_second, 1, 10**6),
            ("gpu_memory_fraction", self.gpu_memory_fraction, 0.01, 1.0),
        ):
            if not low <= value <= high:
                raise UsageError(
                    f"`--{flag}` must be {low} to {high}. Received: {value}"
                )
        if self.port == self.rest_port:
            raise UsageError(
                "`--port` and `--rest_api_port` must differ. "
                f"Received: {self.port} twice"
            )
        # Put into YAML as it is, which has no other control letters.
        if not self.batching.replace("\n", "").replace("\t", "").isprintable():
            raise UsageError(
                "`--batching_parameters_file` must be text without control "
                "letters; write it anew with `emorec tune_batching`"
            )
        if self.log_prefix:
            check_log_prefix(self.log_prefix)
            if not 0 < self.sampling_rate <= 1:
                raise UsageError(
                    "`--sampling_rate` must be above 0 and at most 1. "
                    f"Received: {self.sampling_rate}"
                )
        _match(_DNS_NAME, "app", self.app, "lower case letters, digits and -")
        _match(
            _DNS_NAME,
            "model_claim",
            self.model_claim,
            "lower case letters, digits and -",
        )
        _match(_MEMORY, "memory", self.memory, "a number and Mi or Gi")

    @property
    def has_labels(self) -> bool:
        """Whether a model has a label."""
        return any(model.labels for model in self.models)


def parse_models(
    models: Sequence[str], versions: Sequence[str], labels: Sequence[str]
) -> tuple[ServedModel, ...]:
    """Reads the models from their flags.

    Args:
        models: Values of `--model`: `NAME=/base/path`.
        versions: Of `--versions`: `NAME=latest:2`, `NAME=all`, `NAME=3,4`.
        labels: Of `--label`: `NAME:LABEL=VERSION`. Where a model has labels
            and no `--versions`, the labelled versions are served.

    Raises:
        UsageError: One of them is malformed, or names another model.
    """
    found = {}
    for text in models:
        name, equals, path = text.partition("=")
        if not equals or not path:
            raise UsageError(
                f"`--model` must be NAME=/base/path. Received: {text!r}"
            )
        _match(_NAME, "model", name, "a name of letters, digits and _ . -")
        if name in found:
            raise UsageError(f"`--model` names {name!r} more than once")
        found[name] = ServedModel(name, _base_path(path))
    for text in labels:
        model, label, number = _label(text)
        before = _known(found, model, "label")
        if label in dict(before.labels):
            raise UsageError(f"`--label` names {model}:{label} more than once")
        found[model] = dataclasses.replace(
            before, labels=(*before.labels, (label, number))
        )
    chosen = set()
    for text in versions:
        name, _, rule = text.partition("=")
        model = _known(found, name, "versions")
        if name in chosen:
            raise UsageError(f"`--versions` names {name!r} more than once")
        chosen.add(name)
        found[name] = dataclasses.replace(model, **_versions(text, rule))
    for name, model in found.items():
        if model.labels and name not in chosen:
            numbers = tuple(sorted({number for _, number in model.labels}))
            found[name] = dataclasses.replace(model, latest=0, versions=numbers)
    return tuple(found.values())


def check_log_prefix(prefix: str) -> None:
    """Raises UsageError unless request logs can begin with this path."""
    if not prefix.startswith("/") or not prefix.isprintable():
        raise UsageError(
            "`filename_prefix` of request logs must be an absolute path of "
            f"this machine. Received: {prefix!r}"
        )


def is_uri(path: str) -> bool:
    """Whether a base path is on a remote file system: `gs://bucket/model`."""
    return re.match(r"[a-z][a-z0-9+.-]*://.", path) is not None


def _base_path(path: str) -> str:
    # Quoted wherever it is put, so that all but these are harmless.
    if not (path.startswith("/") or is_uri(path)) or not path.isprintable():
        raise UsageError(
            "`--model` must name an absolute base path or a URI, in "
            f"printable letters. Received: {path!r}"
        )
    if path.startswith("/") and path != "/":
        path = path.rstrip("/")
    if path == "/" or ".." in path.split("/"):
        raise UsageError(
            "`--model` must name the folder of the version folders, without "
            f"`..`. Received: {path!r}"
        )
    return path


def _label(text: str) -> tuple[str, str, int]:
    match = re.fullmatch(r"([^:=]+):([^:=]+)=([0-9]{1,18})", text)
    if not match:
        raise UsageError(
            f"`--label` must be NAME:LABEL=VERSION. Received: {text!r}"
        )
    _match(_NAME, "label", match[2], "a label of letters, digits and _ . -")
    return match[1], match[2], int(match[3])


def _versions(text: str, rule: str) -> dict:
    if rule == "all":
        return {"latest": 0}
    if match := re.fullmatch(r"latest:([1-9][0-9]{0,3})", rule):
        return {"latest": int(match[1])}
    if re.fullmatch(r"[0-9]{1,18}(,[0-9]{1,18})*", rule):
        numbers = tuple(sorted({int(n) for n in rule.split(",")}))
        return {"latest": 0, "versions": numbers}
    raise UsageError(
        "`--versions` must be NAME=latest:2, NAME=all or NAME=3,4. "
        f"Received: {text!r}"
    )


def _known(found: dict, name: str, flag: str) -> ServedModel:
    if name not in found:
        raise UsageError(
            f"`--{flag}` names the model {name!r}, which no --model does"
        )
    return found[name]


def _match(pattern: re.Pattern, flag: str, value: str, rule: str) -> None:
    if not pattern.fullmatch(value):
        raise UsageError(f"`--{flag}` must be {rule}. Received: {value!r}")
