"""Which input ClipExampleGen reads, and whether it has changed."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from absl import logging
from tfx.components.example_gen import driver, input_processor, utils
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2, range_config_pb2
from tfx.types import standard_component_specs as specs
from tfx.utils import proto_utils

from emorec import labels as label_sets
from emorec.data import dataset, files, manifest, shards
from emorec.errors import EmorecError, UsageError

MANIFEST = "manifest"
DATA = "data"
# Files whose size and time are asked for at once; a bucket answers in 50 ms.
_THREADS = 16


@dataclasses.dataclass(frozen=True)
class Input:
    """The input of one run.

    Attributes:
        kind: `MANIFEST` or `DATA`.
        path: The manifest CSV, or the `dataset.json`.
        pattern: The same, relative to the input base.
        span: Number of the span; 0 where the pattern has none.
        version: Number of the version; None where the pattern has none.
        fingerprint: 64 hex digits; see `fingerprint`.
    """

    kind: str
    path: str
    pattern: str
    span: int
    version: int | None
    fingerprint: str


def input_config(kind: str, pattern: str) -> example_gen_pb2.Input:
    """Returns TFX's form of an input: one split, by the name of its kind."""
    if kind == DATA and os.path.basename(pattern) != dataset.FILE:
        pattern = f"{pattern.rstrip('/')}/{dataset.FILE}"
    split = example_gen_pb2.Input.Split(name=kind, pattern=pattern)
    return example_gen_pb2.Input(splits=[split])


def resolve(exec_properties: dict[str, Any]) -> Input:
    """Finds the newest span and version, or those asked for.

    Driver and executor both call it; a pattern that was resolved before is
    taken as it is.

    Args:
        exec_properties: Of ClipExampleGen.

    Raises:
        UsageError: No file matches, or the pattern or range is wrong.
    """
    base = exec_properties[specs.INPUT_BASE_KEY]
    given = example_gen_pb2.Input()
    proto_utils.json_to_proto(exec_properties[specs.INPUT_CONFIG_KEY], given)
    (split,) = given.splits
    files.open_file_system(base)
    span = exec_properties.get(utils.SPAN_PROPERTY_NAME)
    version = exec_properties.get(utils.VERSION_PROPERTY_NAME)
    pattern = split.pattern
    if span is None or "{" in pattern:
        try:
            span, version, pattern = _newest(base, split, exec_properties)
        except ValueError as e:
            raise UsageError(
                f"{files.join(base, split.pattern)}: no {split.name} of a "
                f"span was found ({' '.join(str(e).split())[:300]}); check "
                "`input_base`, the pattern and `range_config`"
            ) from e
    path = files.join(base, pattern)
    # A number from Kubeflow is a float.
    return Input(
        kind=split.name,
        path=path,
        pattern=pattern,
        span=int(span),
        version=None if version is None else int(version),
        fingerprint=fingerprint(split.name, path, exec_properties["labels"]),
    )


def _newest(base, split, exec_properties):
    """Returns (span, version, pattern) as TFX finds them."""
    wanted = None
    if exec_properties.get(specs.RANGE_CONFIG_KEY):
        wanted = range_config_pb2.RangeConfig()
        proto_utils.json_to_proto(
            exec_properties[specs.RANGE_CONFIG_KEY], wanted
        )
    found = input_processor.FileBasedInputProcessor(base, [split], wanted)
    span, version = found.resolve_span_and_version()
    pattern = found.get_pattern_for_span_version(split.pattern, span, version)
    # TFX fills in plain numbers, where the folder may have leading zeros.
    if pattern != split.pattern and not fileio.exists(
        files.join(base, pattern)
    ):
        raise ValueError(
            f"{pattern} is not there; write {{SPAN:2}} for two digits"
        )
    return span, version, pattern


def fingerprint(kind: str, path: str, labels: str) -> str:
    """Names an input's content, without reading gigabytes.

    The bytes of the manifest (or `dataset.json`, or a file of labels) and
    size and time of change of each video (or shard and summary) count.

    Args:
        kind: `MANIFEST` or `DATA`.
        path: The manifest CSV, or the `dataset.json`.
        labels: A `--labels` value.

    Returns:
        64 hex digits. Of a faulty input, those of its bytes alone: the
        executor says what is wrong with it.
    """
    try:
        named = _named(kind, path, labels)
    except EmorecError as e:
        logging.warning("%s", e)
        named = ()
    digest = hashlib.sha256()
    texts = [path]
    if labels not in (*label_sets.BUILT_IN, label_sets.AUTO):
        texts.append(labels)
    for text in texts:
        digest.update(_content(text))
    with ThreadPoolExecutor(_THREADS) as pool:
        found = sorted(set(named))
        for name, state in zip(found, pool.map(_state, found), strict=True):
            digest.update(json.dumps([name, state]).encode())
    return digest.hexdigest()


def _named(kind, path, labels) -> Iterable[str]:
    """The files that an input names."""
    if kind == MANIFEST:
        rows = manifest.read(path, labels, check_videos=False).rows
        return [row.path for row in rows]
    data = dataset.load(files.parent(path))
    found = [
        name
        for split, values in data.splits.items()
        if values["files"]
        for name in data.files(split)
    ]
    return [*found, *(str(shards.summary_path(name)) for name in found)]


def _content(path: str) -> bytes:
    """The digest of a small file; of nothing where it cannot be read."""
    try:
        with files.local_copy(path) as local:
            return hashlib.sha256(local.read_bytes()).digest()
    except (EmorecError, OSError):
        return b"?"


def _state(path: str) -> tuple[int, int] | None:
    try:
        return files.stat(path)
    except (EmorecError, OSError):
        return None


class ClipExampleGenDriver(driver.FileBasedDriver):
    """Resolves span and version, and gives TFX's cache the fingerprint."""

    def resolve_exec_properties(
        self, exec_properties: dict[str, Any], pipeline_info, component_info
    ) -> dict[str, Any]:
        """Puts what was found in the place of the patterns.

        An input that is not there is left to the executor, which fails with
        the reason: a driver that raises leaves its execution unfinished.
        """
        del pipeline_info, component_info
        try:
            found = resolve(exec_properties)
        except UsageError as e:
            logging.error("%s", e)
            found = None
        if found is not None:
            exec_properties[specs.INPUT_CONFIG_KEY] = proto_utils.proto_to_json(
                input_config(found.kind, found.pattern)
            )
        exec_properties[utils.SPAN_PROPERTY_NAME] = found.span if found else 0
        exec_properties[utils.VERSION_PROPERTY_NAME] = (
            found.version if found else None
        )
        exec_properties[utils.FINGERPRINT_PROPERTY_NAME] = (
            found.fingerprint if found else "no input was found"
        )
        return exec_properties
