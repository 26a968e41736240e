"""Which versions of the model were pushed, and which one a server takes."""

import dataclasses
import hashlib
import os

import ml_metadata as mlmd

from emorec.data import files
from emorec.errors import ExportError
from tfx_pipeline import metadata_store
from tfx_pipeline.metadata_store import value

SAVED_MODEL, VARIABLES = "saved_model.pb", "variables"
PUSHED_MODEL = "PushedModel"
# Where TFX's Trainer puts the SavedModel, below the Model artifact.
_SERVING_MODEL = "Format-Serving"
# The inputs of a Pusher that say that a model may be pushed.
MODEL_BLESSING, INFRA_BLESSING = "model_blessing", "infra_blessing"


@dataclasses.dataclass(frozen=True)
class PushedVersion:
    """A version that the pipeline, or a rollback, has pushed.

    Attributes:
        version: Its number, which is the name of its folder.
        destination: The folder that was written for the server.
        model_id: The id of the Model artifact; None where it is unknown.
        blessed_by: The nodes that blessed the model for this push.
        pushed_at: ISO 8601.
        run_id: The run that pushed it; None for a rollback.
        rolled_back_to: For a rollback, the version that this is again.
        rolled_back_from: For a rollback, the version that it takes over from.
        artifact_id: The id of the PushedModel artifact.
        archive: The URI of that artifact, which holds the model too.
        inputs: The key of each input of the push -> the artifact's id.
    """

    version: int
    destination: str
    model_id: int | None
    blessed_by: tuple[str, ...]
    pushed_at: str
    run_id: str | None
    rolled_back_to: int | None
    rolled_back_from: int | None
    artifact_id: int
    archive: str
    inputs: dict[str, int]

    @property
    def base(self) -> str:
        """The base path of the server."""
        return files.parent(self.destination)

    def to_dict(self) -> dict:
        """Returns JSON values."""
        return dataclasses.asdict(self)


def pushed_versions(
    store: mlmd.MetadataStore, pipeline_name: str, base: str | None = None
) -> list[PushedVersion]:
    """Returns what a pipeline has pushed, the newest first.

    Args:
        store: The store.
        pipeline_name: The pipeline.
        base: Only what was pushed to this base path.
    """
    context = metadata_store.pipeline_context(store, pipeline_name)
    if context is None:
        return []
    artifacts = {
        a.id: a
        for a in store.get_artifacts_by_context(context.id)
        if a.type == PUSHED_MODEL and value(a, "pushed") == 1
    }
    found = [_pushed(store, a) for _, a in sorted(artifacts.items())]
    return [
        p
        for p in reversed(found)
        if p is not None and (base is None or same_folder(p.base, base))
    ]


def _pushed(store, artifact) -> PushedVersion | None:
    version = str(value(artifact, "pushed_version") or "")
    if not _is_version(version):
        return None  # Not to a file system.
    maker = metadata_store.producer(store, artifact.id)
    inputs = {}
    if maker is not None:
        inputs = metadata_store.linked(store, maker.id, metadata_store.INPUTS)
    blessings = [
        a
        for key in (MODEL_BLESSING, INFRA_BLESSING)
        for a in inputs.get(key, [])
        if value(a, "blessed") == 1
    ]
    model = next(iter(inputs.get("model", [])), None)
    return PushedVersion(
        version=int(version),
        destination=str(value(artifact, "pushed_destination") or ""),
        model_id=model.id if model else None,
        blessed_by=tuple(maker_name(store, b.id) for b in blessings),
        pushed_at=metadata_store.when(artifact.create_time_since_epoch),
        run_id=metadata_store.run_of(store, maker.id) if maker else None,
        rolled_back_to=value(artifact, "rolled_back_to"),
        rolled_back_from=value(artifact, "from_version"),
        artifact_id=artifact.id,
        archive=artifact.uri,
        inputs={k: a[0].id for k, a in inputs.items()},
    )


def maker_name(store: mlmd.MetadataStore, artifact_id: int) -> str:
    """Returns the id of the node that made an artifact."""
    maker = metadata_store.producer(store, artifact_id)
    return metadata_store.node_of(store, maker) if maker else "unknown"


def same_folder(a: str, b: str) -> bool:
    """Whether two paths name one folder; either may be relative."""
    return _plain(a) == _plain(b)


def _plain(path) -> str:
    return path.rstrip("/") if files.is_remote(path) else os.path.abspath(path)


def numbers(base: str) -> list[int]:
    """Returns the names under a base path that a server takes for versions.

    Ascending; also of a folder that is not complete.

    Raises:
        EmorecError: It is no folder, or it cannot be read.
    """
    names = (n.rstrip("/") for n in files.listing(base))
    return sorted(int(n) for n in names if _is_version(n))


def served(base: str) -> int | None:
    """Returns the version that a server takes: the highest complete one.

    Raises:
        EmorecError: The base path is no folder, or it cannot be read.
    """
    for number in reversed(numbers(base)):
        if is_complete(files.join(base, str(number))):
            return number
    return None


def is_complete(folder: str) -> bool:
    """Whether a folder holds a SavedModel with all files of its variables.

    One that has no folder of variables may be a foreign one without any.
    """
    if not files.exists(files.join(folder, SAVED_MODEL)):
        return False
    place = files.join(folder, VARIABLES)
    if not files.is_folder(place):
        return True
    names = {n.rstrip("/") for n in files.listing(place)}
    shards = [n for n in names if n.startswith("variables.data-")]
    # `variables.data-00000-of-00002` says how many there are to be.
    counts = {n.rpartition("-")[2] for n in shards}
    return "variables.index" in names and counts == {f"{len(shards):05d}"}


def source(store: mlmd.MetadataStore, pushed: PushedVersion) -> str:
    """Returns the folder that the version is copied from.

    The Pusher wrote one model three times: where a server takes it, in the
    pipeline's root, and it is the Trainer's. What two of them agree on was
    pushed; somebody may have put another model under that number, or a copy
    may have lost a part.

    Raises:
        ExportError: They are gone, or nothing tells what was pushed.
    """
    places = [pushed.archive, pushed.destination]
    if pushed.model_id is not None:
        [model] = store.get_artifacts_by_id([pushed.model_id])
        places.append(files.join(model.uri, _SERVING_MODEL))
    found = {p: _contents(p) for p in places if p and is_complete(p)}
    whole = {p: held for p, held in found.items() if _has_values(held)}
    if not whole:
        raise ExportError(
            f"version {pushed.version}: its files are gone, or some of them, "
            f"from {pushed.destination} and the pipeline's root; choose "
            "another version"
        )
    for place, held in whole.items():
        if len(whole) == 1 or list(whole.values()).count(held) > 1:
            return place
    raise ExportError(
        f"version {pushed.version}: {' and '.join(whole)} differ, so that "
        "nothing tells what was pushed; remove what is wrong, or choose "
        "another version"
    )


def _has_values(held: dict[str, str]) -> bool:
    return any(n.startswith(f"{VARIABLES}/variables.data") for n in held)


def _contents(folder: str) -> dict[str, str]:
    """Returns the SHA-256 of each file below a folder, by its place in it."""
    found = {}
    for name in files.walk(folder):
        with (
            files.local_copy(files.join(folder, name)) as path,
            open(path, "rb") as file,
        ):
            found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _is_version(text: str) -> bool:
    return text.isascii() and text.isdigit()
