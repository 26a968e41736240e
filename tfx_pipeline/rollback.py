"""Pushes an earlier blessed version of the model again.

A model server takes the highest number, so an earlier model gets a new one;
no folder is ever written over. ML Metadata learns of it as of any push: an
execution of the type `EmorecRollback` takes the model and its blessings and
puts out a PushedModel.
"""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2

from emorec.data import files
from emorec.errors import ExportError, UsageError
from tfx_pipeline import metadata_store, pushes
from tfx_pipeline.metadata_store import Artifact, Event, Execution
from tfx_pipeline.pushes import PushedVersion

EXECUTION = "EmorecRollback"
_BLESSINGS = (pushes.MODEL_BLESSING, pushes.INFRA_BLESSING)


def roll_back(
    metadata_path: str,
    pipeline_name: str,
    serving_dir: str,
    version: int | None = None,
) -> PushedVersion:
    """Pushes an earlier version again, under a number above all others.

    Args:
        metadata_path: The SQLite file of ML Metadata.
        pipeline_name: The pipeline that pushed it.
        serving_dir: The base path that it was pushed to; may be remote.
        version: The version; by default the blessed one before that which is
            served. Where that is itself a rollback, the one before what it
            has brought back.

    Returns:
        The new version.

    Raises:
        UsageError: There is no such version.
        ExportError: There is nothing earlier, the version was not blessed,
            its files are gone or changed, or a folder cannot be written.
        EmorecError: ML Metadata is absent or cannot be written. After any of
            these nothing new is served.
    """
    with metadata_store.opened(metadata_path) as store:
        found = pushes.pushed_versions(store, pipeline_name, serving_dir)
        if not found:
            raise _nothing_pushed(store, pipeline_name, serving_dir)
        served = pushes.served(serving_dir)
        chosen = choose(found, served, version)
        source = pushes.source(store, chosen)
    number = _next_number(serving_dir, found)
    target = files.join(serving_dir, str(number))
    with (
        _staged(source, target) as publish,
        metadata_store.opened(metadata_path, write=True) as store,
        _recorded(store, pipeline_name, chosen, served) as put_out,
    ):
        publish()
        try:
            put_out(number, target)
        except BaseException:
            # What is not recorded is not served.
            files.remove(target)
            raise
    with metadata_store.opened(metadata_path) as store:
        made = pushes.pushed_versions(store, pipeline_name, serving_dir)
    return next(p for p in made if p.version == number)


def _nothing_pushed(store, pipeline_name, serving_dir) -> ExportError:
    others = pushes.pushed_versions(store, pipeline_name)
    bases = ", ".join(dict.fromkeys(p.base for p in others))
    remedy = "run it first"
    if bases:
        remedy = (
            f"its versions are in {bases}: give that as `serving_dir`, or run "
            "it first"
        )
    return ExportError(
        f"{serving_dir}: the pipeline {pipeline_name!r} has pushed nothing "
        f"there; {remedy}"
    )


def choose(
    found: list[PushedVersion], served: int | None, version: int | None
) -> PushedVersion:
    """Returns the version that is to be pushed again.

    Args:
        found: What was pushed to this base path, the newest first.
        served: The version that is served there, or None.
        version: The one that is wanted, or None.

    Raises:
        UsageError: There is no such version.
        ExportError: There is nothing earlier, or it was not blessed by both.
    """
    by_number = {p.version: p for p in found}
    newest = by_number.get(served)
    told = ", ".join(str(p.version) for p in found) or "none"
    if version is None:
        return _before(found, newest, served, told)
    chosen = by_number.get(version)
    if chosen is None:
        raise UsageError(
            f"`--version` must be one that this pipeline pushed: {told}. "
            f"Received: {version}"
        )
    if not _is_blessed(chosen):
        raise ExportError(
            f"version {version} was not blessed by both Evaluator and "
            "ServableValidator; choose another version. Received: blessed by "
            f"{' and '.join(chosen.blessed_by) or 'nobody'}"
        )
    if newest is not None and _is_same(newest, chosen):
        raise ExportError(
            f"version {served}, which is served, is the model of version "
            f"{version} already; choose another version"
        )
    return chosen


def _before(found, newest, served, told) -> PushedVersion:
    """The newest blessed version before the served one, of another model."""
    by_number = {p.version: p for p in found}
    place = newest
    # What was rolled away from must not come back unasked.
    while place is not None and place.rolled_back_to in by_number:
        place = by_number[place.rolled_back_to]
    last = served if place is None else place.version
    for push in found:
        if (
            (last is None or push.version < last)
            and push.rolled_back_to is None
            and _is_blessed(push)
            and not (newest is not None and _is_same(newest, push))
        ):
            return push
    raise ExportError(
        f"no blessed version of another model was pushed before {last}; "
        f"this pipeline pushed {told}; name one of them by --version"
    )


def _is_blessed(push: PushedVersion) -> bool:
    wanted = [k for k in _BLESSINGS if k in push.inputs]
    return len(push.blessed_by) == len(wanted) == len(_BLESSINGS)


def _is_same(a: PushedVersion, b: PushedVersion) -> bool:
    return a.version == b.version or (
        a.model_id is not None and a.model_id == b.model_id
    )


def _next_number(base: str, found: list[PushedVersion]) -> int:
    """Returns a number above all, of the Pusher's kind: seconds since 1970.

    With a small one, each later push would still be above it; but so it tells
    when it was made, and a base path without numbers gets none below those
    that were removed.
    """
    taken = [*pushes.numbers(base), *(p.version for p in found)]
    return max(int(time.time()), max(taken, default=0) + 1)


@contextlib.contextmanager
def _staged(source: str, target: str) -> Iterator:
    """Copies a version beside its place; gives what publishes it.

    Raises:
        ExportError: It cannot be written. Nothing is left.
    """
    if files.is_remote(target):
        # No rename of a folder is atomic there: saved_model.pb, without which
        # no server takes a folder, comes last.
        yield lambda: _publish_remotely(source, target)
        return
    base = files.parent(target)
    try:
        os.makedirs(base, exist_ok=True)
        staging = tempfile.mkdtemp(prefix=f".{files.name(target)}-", dir=base)
    except OSError as e:
        raise _unwritable(base, e) from e
    try:
        # mkdtemp makes it for the owner alone; a server may be another user.
        os.chmod(staging, 0o755)
        files.copy_tree(source, staging, last=pushes.SAVED_MODEL)

        def publish():
            _check_free(target)
            os.rename(staging, target)

        yield publish
    except OSError as e:
        raise _unwritable(base, e) from e
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _publish_remotely(source, target):
    _check_free(target)
    try:
        files.copy_tree(source, target, last=pushes.SAVED_MODEL)
    except BaseException:
        files.remove(target)
        raise


def _check_free(target):
    if files.exists(target):
        raise ExportError(
            f"{target}: another push has taken this number; try again"
        )


def _unwritable(base, error) -> ExportError:
    return ExportError(
        f"{base}: cannot be written ({error.strerror or error}); nothing was "
        "pushed"
    )


@contextlib.contextmanager
def _recorded(
    store: mlmd.MetadataStore,
    pipeline_name: str,
    chosen: PushedVersion,
    served: int | None,
) -> Iterator:
    """Records the rollback; gives what is called with its number and folder.

    Begun before anything is published, so that what cannot be recorded is
    not done; failed where it was not published.
    """
    context = metadata_store.pipeline_context(store, pipeline_name)
    execution = Execution(
        type_id=store.put_execution_type(
            metadata_store_pb2.ExecutionType(name=EXECUTION)
        ),
        last_known_state=Execution.RUNNING,
    )
    _put_versions(execution, chosen, served)
    inputs = [
        (artifact, _event(Event.INPUT, key))
        for key, artifact in _inputs(store, chosen)
    ]
    execution.id, _, _ = store.put_execution(execution, inputs, [context])

    def put_out(number, target):
        artifact = _pushed_artifact(store, chosen, served, number, target)
        execution.last_known_state = Execution.COMPLETE
        event = _event(Event.OUTPUT, "pushed_model")
        store.put_execution(execution, [(artifact, event)], [context])

    try:
        yield put_out
    except BaseException:
        execution.last_known_state = Execution.FAILED
        store.put_executions([execution])
        raise


def _inputs(store, chosen) -> list:
    wanted = {
        **{k: chosen.inputs[k] for k in ("model", *_BLESSINGS)},
        "pushed_model": chosen.artifact_id,
    }
    artifacts = {a.id: a for a in store.get_artifacts_by_id(wanted.values())}
    return [(key, artifacts[id_]) for key, id_ in wanted.items()]


def _event(kind, key) -> Event:
    step = Event.Path.Step
    return Event(type=kind, path={"steps": [step(key=key), step(index=0)]})


def _pushed_artifact(store, chosen, served, number, target) -> Artifact:
    artifact = Artifact(
        type_id=store.get_artifact_type(pushes.PUSHED_MODEL).id,
        # The copy in the pipeline's root serves both.
        uri=chosen.archive,
        state=Artifact.LIVE,
    )
    # As TFX's Pusher puts them.
    artifact.custom_properties["pushed"].int_value = 1
    artifact.custom_properties["pushed_destination"].string_value = target
    artifact.custom_properties["pushed_version"].string_value = str(number)
    _put_versions(artifact, chosen, served)
    return artifact


def _put_versions(message, chosen, served):
    properties = message.custom_properties
    properties["rolled_back_to"].int_value = chosen.version
    if served is not None:
        properties["from_version"].int_value = served
