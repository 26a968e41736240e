"""What is wrong with Kubernetes objects of a model server."""

from serving.configs import check as configs
from serving.deploy import container as containers

# What the manifests are written for; gRPC probes are in it since 1.27.
KUBERNETES = "1.30"
# What ours are made of, for a machine without kubernetes-validate.
_NEEDED = {
    "ConfigMap": ("metadata", "data"),
    "Secret": ("metadata",),
    "Deployment": ("metadata", "spec"),
    "Service": ("metadata", "spec"),
    "HorizontalPodAutoscaler": ("metadata", "spec"),
    "PodDisruptionBudget": ("metadata", "spec"),
}


def check(documents: list[dict]) -> list[str]:
    """Checks objects alone, and against one another.

    Each one is checked with its schema by kubernetes-validate where that is
    installed, else for its main parts alone.

    Args:
        documents: The objects of one file.

    Returns:
        What is wrong.
    """
    findings = []
    for document in documents:
        findings += [f"{_name(document)}: {x}" for x in _schema(document)]
    if findings:
        return findings  # What does not fit its schema is not looked into.
    try:
        for document in documents:
            findings += [
                f"{_name(document)}: {x}" for x in _object(document, documents)
            ]
    except (AttributeError, KeyError, IndexError, TypeError) as e:
        findings.append(
            f"the objects have not the form of ours ({type(e).__name__}: {e})"
        )
    return findings


def _schema(document: dict) -> list[str]:
    try:
        import kubernetes_validate
    except ImportError:
        needed = _NEEDED.get(document["kind"], ("metadata",))
        return [f"lacks {key!r}" for key in needed if key not in document]
    try:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as e:
        where = ".".join(map(str, e.path)) or "it"
        return [f"{where}: {' '.join(str(e.message).split())[:200]}"]
    except kubernetes_validate.SchemaNotFoundError:
        return [
            f"{document['apiVersion']} is no version of it in Kubernetes "
            f"{KUBERNETES}"
        ]
    return []


def _object(document: dict, documents: list[dict]) -> list[str]:
    kind = document["kind"]
    if kind == "ConfigMap":
        # Those that a server reads are checked where they are mounted.
        return [
            f"{name}: its name says no kind of config"
            for name in document.get("data", {})
            if not configs.kind_of(name)
        ]
    if kind == "Deployment":
        return _deployment(document, documents)
    if kind == "Service":
        return _service(document, documents)
    if kind == "HorizontalPodAutoscaler":
        target = document["spec"]["scaleTargetRef"]
        if not _find(documents, target["kind"], target["name"]):
            return [
                f"scales {target['kind']} {target['name']!r}, which is not here"
            ]
    if kind == "PodDisruptionBudget":
        wanted = document["spec"]["selector"]["matchLabels"]
        if not _selected(documents, wanted):
            return [f"selects no pods of this file with {wanted}"]
    return []


def _deployment(document, documents) -> list[str]:
    spec = document["spec"]
    findings = []
    labels = spec["template"]["metadata"]["labels"]
    if not spec["selector"]["matchLabels"].items() <= labels.items():
        findings.append("its selector does not fit its own pods' labels")
    if _scaled(document, documents) and "replicas" in spec:
        findings.append(
            "`replicas` sets the autoscaler's number back at every apply"
        )
    volumes = {
        v["name"]: v for v in spec["template"]["spec"].get("volumes", [])
    }
    for container in spec["template"]["spec"]["containers"]:
        findings += _container(container, volumes, document, documents)
    return findings


def _container(container, volumes, document, documents) -> list[str]:
    findings, mounts = [], {}
    for mount in container.get("volumeMounts", []):
        volume = volumes.get(mount["name"])
        if volume is None:
            findings.append(f"mounts {mount['name']!r}, which is no volume")
            continue
        mounts[mount["mountPath"]] = None
        if "configMap" not in volume:
            continue
        name = volume["configMap"]["name"]
        held = _find(documents, "ConfigMap", name)
        if held is None:
            findings.append(f"mounts the ConfigMap {name!r}, which is not here")
            continue
        for key, text in held["data"].items():
            mounts[f"{mount['mountPath']}/{key}"] = text
        # Whatever else is asked for in this folder is not there.
        del mounts[mount["mountPath"]]
    ports = {p["containerPort"]: p.get("name") for p in container["ports"]}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        findings += _probe(probe, container.get(probe), ports, container)
    annotations = document["spec"]["template"]["metadata"].get(
        "annotations", {}
    )
    scraped = annotations.get("prometheus.io/port")
    if scraped is not None and int(scraped) not in ports:
        findings.append(f"metrics are read from port {scraped}, not open")
    return findings + containers.check(
        containers.Container(
            f"container {container['name']!r}",
            container["image"],
            containers.parse_args(container.get("args", [])),
            set(ports),
            mounts,
            metrics_needed=scraped is not None,
        )
    )


def _probe(name, probe, ports, container) -> list[str]:
    if probe is None:
        return [f"container {container['name']!r}: has no {name}"]
    known = {*ports, *ports.values()}
    args = containers.parse_args(container.get("args", []))
    if "grpc" in probe:
        findings = []
        if probe["grpc"]["port"] not in ports:
            findings.append(f"{name}: port {probe['grpc']['port']} is not open")
        if args.get("enable_grpc_healthcheck_service") != "true":
            findings.append(f"{name}: needs --enable_grpc_healthcheck_service")
        if "ssl_config_file" in args:
            findings.append(f"{name}: a gRPC probe cannot speak TLS")
        return findings
    if "httpGet" in probe and probe["httpGet"]["port"] not in known:
        return [f"{name}: port {probe['httpGet']['port']} is not open"]
    return []


def _service(document, documents) -> list[str]:
    wanted = document["spec"].get("selector", {})
    pods = _selected(documents, wanted)
    if not pods:
        return [f"selects no pods of this file with {wanted}"]
    known = {
        value
        for pod in pods
        for container in pod["spec"]["containers"]
        for port in container["ports"]
        for value in (port["containerPort"], port.get("name"))
    }
    return [
        f"port {port['port']} goes to {target!r}, which no container has"
        for port in document["spec"]["ports"]
        if (target := port.get("targetPort", port["port"])) not in known
    ]


def _selected(documents, wanted) -> list[dict]:
    """Returns the pod templates that labels select."""
    templates = [
        d["spec"]["template"] for d in documents if d["kind"] == "Deployment"
    ]
    return [
        t
        for t in templates
        if wanted.items() <= t["metadata"]["labels"].items()
    ]


def _scaled(document, documents) -> bool:
    name = document["metadata"]["name"]
    return any(
        d["kind"] == "HorizontalPodAutoscaler"
        and d["spec"]["scaleTargetRef"]["name"] == name
        for d in documents
    )


def _find(documents, kind, name) -> dict | None:
    for document in documents:
        if document["kind"] == kind and document["metadata"]["name"] == name:
            return document
    return None


def _name(document) -> str:
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return f"{document['kind']} {name!r}"
