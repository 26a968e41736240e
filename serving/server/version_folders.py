"""The version folders below a base path, and which of them are wanted."""

import posixpath
from collections.abc import Mapping

import tensorflow as tf
from tensorflow_serving.config import file_system_storage_path_source_pb2

Policy = (
    file_system_storage_path_source_pb2.FileSystemStoragePathSourceConfig
).ServableVersionPolicy

_MAX_VERSION = 2**63 - 1


def find_versions(base_path: str) -> dict[int, str]:
    """Returns the version folders below `base_path` by number.

    Raises:
        tf.errors.OpError: `base_path` cannot be listed.
    """
    found = {}
    # Sorted: of "1" and "01" the same one at every look.
    for name in sorted(tf.io.gfile.listdir(base_path)):
        name = name.rstrip("/")  # Object stores end folders so.
        if not (name.isascii() and name.isdigit()) or int(name) > _MAX_VERSION:
            continue
        path = posixpath.join(base_path, name)
        if tf.io.gfile.isdir(path):
            found[int(name)] = path
    return found


def wanted(policy: Policy, found: Mapping[int, str]) -> dict[int, str]:
    """Returns those of the versions found that a policy wants served.

    Args:
        policy: `latest` (the default; `num_versions` 0 means 1), `all` or
            `specific`, of which those not found are left out.
        found: Every version folder by number.

    Returns:
        Folders by number, the newest first.
    """
    choice = policy.WhichOneof("policy_choice")
    numbers = sorted(found, reverse=True)
    if choice == "specific":
        named = set(policy.specific.versions)
        numbers = [number for number in numbers if number in named]
    elif choice != "all":
        numbers = numbers[: policy.latest.num_versions or 1]
    return {number: found[number] for number in numbers}


def missing(policy: Policy, found: Mapping[int, str]) -> list[int]:
    """Returns the versions that a policy names and that were not found."""
    return sorted(set(policy.specific.versions) - set(found))


def is_saved_model(path: str) -> bool:
    """Whether a folder is a SavedModel itself, one level too deep."""
    try:
        return "saved_model.pb" in tf.io.gfile.listdir(path)
    except tf.errors.OpError:
        return False  # Not there yet.


def stamp(path: str) -> tuple:
    """Returns what changes when a copy into a version folder goes on."""
    found = []
    for pattern in ("*", "variables/*"):
        for name in sorted(tf.io.gfile.glob(posixpath.join(path, pattern))):
            stat = tf.io.gfile.stat(name)
            found.append((name, stat.length, stat.mtime_nsec))
    return tuple(found)
