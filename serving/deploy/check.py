"""What is wrong with the files of a model server, a line each."""

import os
import stat

import yaml

from emorec.errors import UsageError
from serving.configs import schemas
from serving.configs.check import check_config, kind_of
from serving.deploy import check_kubernetes
from serving.deploy import container as containers

_YAML = (".yml", ".yaml")


def check(paths: list[str]) -> list[str]:
    """Checks files, and the files of folders.

    Args:
        paths: Files; or folders, of which every file that is named like a
            server's is checked, and no folder within. The config files that
            a compose file mounts are checked with it.

    Returns:
        A line for every finding: `FILE: what is wrong`.

    Raises:
        UsageError: A path does not exist, is named like none of the files, or
            a folder holds none.
    """
    findings = []
    waiting = [os.path.normpath(path) for path in _files(paths)]
    done = set()
    while waiting:
        path = waiting.pop(0)
        if path in done:
            continue
        done.add(path)
        try:
            text = schemas.read_text(path)
            if path.endswith(_YAML):
                found, mounted = _check_yaml(text, path)
                waiting += mounted
            else:
                kind = kind_of(path)
                found = check_config(kind, text, path)
                if kind == "ssl":
                    found += _permissions(path)
        except UsageError as e:
            findings.append(str(e))
        else:
            findings += [f"{path}: {text}" for text in found]
    return findings


def _files(paths) -> list[str]:
    found = []
    for path in paths:
        if os.path.isdir(path):
            found += _inside(path)
        elif not os.path.exists(path):
            raise UsageError(f"{path}: does not exist; name a file")
        elif path.endswith(_YAML) or kind_of(path):
            found.append(path)
        else:
            raise UsageError(
                f"{path}: its name says no kind of file; name it like "
                "models.config, batching_parameters.txt, monitoring.config, "
                "ssl.config or *.yaml"
            )
    return found


def _inside(folder) -> list[str]:
    found = [
        os.path.join(folder, name)
        for name in sorted(os.listdir(folder))
        if not name.startswith(".") and (name.endswith(_YAML) or kind_of(name))
    ]
    if not found:
        raise UsageError(
            f"{folder}: holds no file of a model server; make them with "
            "`emorec serving_config --output_dir`"
        )
    return found


def _permissions(path) -> list[str]:
    mode = stat.S_IMODE(os.stat(path).st_mode)
    if mode & 0o077:
        return [
            f"holds a private key, and others may read it ({mode:04o}); "
            "chmod 600"
        ]
    return []


def _check_yaml(text: str, source: str) -> tuple[list[str], list[str]]:
    """Returns what is wrong with a YAML, and the config files it mounts."""
    try:
        documents = [d for d in yaml.safe_load_all(text) if d is not None]
    except yaml.YAMLError as e:
        reason = " ".join(str(e).split())[:200]
        raise UsageError(f"{source}: is no YAML: {reason}") from e
    if not documents or not all(isinstance(d, dict) for d in documents):
        return ["holds no object"], []
    if all("apiVersion" in d and "kind" in d for d in documents):
        return check_kubernetes.check(documents), []
    (first, *more) = documents
    if not more and "services" in first:
        return _compose(first, os.path.dirname(source))
    if not more and "rules" in first:
        return _adapter(first), []
    return [
        "is neither a compose file nor Kubernetes objects nor values of the "
        "Prometheus adapter"
    ], []


def _compose(document: dict, folder: str) -> tuple[list[str], list[str]]:
    services = document["services"]
    if not isinstance(services, dict) or not services:
        return ["`services` names no service"], []
    findings, files = [], []
    for name, service in services.items():
        try:
            mounts = {
                _plain(volume["target"]): os.path.normpath(
                    os.path.join(folder, _plain(volume["source"]))
                )
                for volume in service.get("volumes", [])
                if volume["type"] == "bind"
            }
            container = containers.Container(
                f"service {name!r}",
                service["image"],
                containers.parse_args(map(_plain, service["command"])),
                # Either "host:port:port" or "port:port".
                {int(str(p).rpartition(":")[2]) for p in service["ports"]},
                {t: _text_of(path) for t, path in mounts.items()},
            )
            findings += containers.check(container, texts_too=False)
        except (AttributeError, KeyError, TypeError, ValueError) as e:
            findings.append(
                f"service {name!r} has not the form of ours "
                f"({type(e).__name__}: {e})"
            )
            continue
        for path in container.args.values():
            file = mounts.get(path)
            if file is None:
                continue
            if os.path.isfile(file) and kind_of(file):
                files.append(file)
            elif not os.path.exists(file):
                # A model may come later, a config file may not.
                findings.append(f"service {name!r}: {file} is not there")
    return findings, files


def _plain(text: str) -> str:
    return text.replace("$$", "$")


def _text_of(path: str) -> str | None:
    try:
        return schemas.read_text(path)
    except UsageError:
        return None  # A folder; or told where the file itself is checked.


def _adapter(document: dict) -> list[str]:
    try:
        return [
            f"rule {i}: lacks {key!r}"
            for i, rule in enumerate(document["rules"]["custom"])
            for key in ("seriesQuery", "resources", "name", "metricsQuery")
            if key not in rule
        ]
    except (KeyError, TypeError) as e:
        return [f"`rules` has no list `custom` ({type(e).__name__}: {e})"]
