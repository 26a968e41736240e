"""SavedModels: written, proven, then published as a version folder.

Written by `keras.export.ExportArchive`, the way that TensorFlow Serving can
load: a `tf.saved_model.save` of a module that holds a Keras 3 model loads
here and fails there.
"""

import contextlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from emorec.data import files
from emorec.errors import ExportError
from emorec.export import cards, proof, signatures, warmup
from emorec.export.card_figures import Figures
from emorec.export.graph_session import GraphSession
from emorec.export.names import DESCRIPTION, LABELS
from emorec.features import encoders
from emorec.training import train
from emorec.training.bundle import Bundle

# A SavedModel without it is none, so that it is copied last.
_COMPLETES = "saved_model.pb"


def versions(base_path: str | os.PathLike) -> list[int]:
    """Returns the versions under a base path, ascending."""
    folder = pathlib.Path(base_path)
    if not folder.is_dir():
        return []
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdecimal())


def export(
    bundle: Bundle,
    base_path: str | os.PathLike,
    version: int | None = None,
    *,
    batch_sizes: Sequence[int] = warmup.BATCH_SIZES,
    figures: Sequence[Figures] | None = None,
) -> tuple[pathlib.Path, dict]:
    """Writes a new version under the base path of a served model.

    The version folder appears under its final name only after it was loaded
    again, twice, and its answers were compared with the model's; with it come
    the requests by which a server warms it up, and among its assets the model
    card and the data card.

    Args:
        bundle: The model, loaded with `use_cudnn=False`.
        base_path: `<base_path>/<version>/` is what a server reads.
        version: A positive number; by default one more than the newest.
        batch_sizes: Of the warmup requests to each signature; none leaves
            the warmup out.
        figures: Of the model card (`cards.figures_of`); by default those of
            the training run.

    Returns:
        The version folder, and the largest differences that were measured
        (`proof.check`).

    Raises:
        ExportError: The version exists, or a check failed.
        ConfigError: Keras runs on another backend than TensorFlow.
    """
    _check_surroundings(batch_sizes)
    base = pathlib.Path(base_path)
    if version is None:
        version = max(versions(base), default=0) + 1
    final = base / str(version)
    if version < 1 or final.exists():
        raise ExportError(
            f"{final}: `version` must be a number that is not taken. "
            f"Received: {version}; taken: {versions(base)}"
        )
    with _staging(base, version) as staging:
        _write(bundle, staging)
        cards.write(staging / "assets", bundle, figures, version)
        differences = _prove(bundle, staging, batch_sizes)
        os.rename(staging, final)
    return final, differences


def write_to(
    bundle: Bundle,
    folder: str | os.PathLike,
    extra: Mapping[str, str | os.PathLike] | None = None,
    *,
    batch_sizes: Sequence[int] = warmup.BATCH_SIZES,
) -> dict[str, float]:
    """Writes a SavedModel into a folder of any name, local or remote.

    As `export`: the folder appears, or is complete where it is remote, only
    after its answers were compared with the model's.

    Args:
        bundle: The model, loaded with `use_cudnn=False`.
        folder: What is to be made; it must not exist.
        extra: Path below `assets.extra`, which no server reads and a push
            carries along -> the file to be put there, local or remote.
        batch_sizes: As in `export`.

    Returns:
        The largest differences that were measured (`proof.check`).

    Raises:
        ExportError: The folder exists, cannot be written, or a check failed.
        ConfigError: Keras runs on another backend than TensorFlow.
    """
    _check_surroundings(batch_sizes)
    folder = str(folder)
    if files.exists(folder):
        raise ExportError(
            f"{folder}: exists already, and an export is not written over; "
            "name another folder"
        )
    remote = files.is_remote(folder)
    parent, name = os.path.split(folder.rstrip("/"))
    base = None if remote else pathlib.Path(parent)
    with _staging(base, name) as staging:
        _write(bundle, staging)
        cards.write(staging / "assets", bundle)
        for path, source in (extra or {}).items():
            place = staging / "assets.extra" / path
            place.parent.mkdir(parents=True, exist_ok=True)
            files.copy(source, place)
        differences = _prove(bundle, staging, batch_sizes)
        if remote:
            files.copy_tree(staging, folder, last=_COMPLETES)
        else:
            os.rename(staging, folder)
    return differences


def _check_surroundings(batch_sizes):
    """Refuses at once what would fail minutes later."""
    train.check_backend("exporting")
    if batch_sizes:
        warmup.message_class()


@contextlib.contextmanager
def _staging(base, version):
    """A folder beside the versions that no server takes for one.

    Args:
        base: The base path; None for a temporary folder.
        version: The version's name.
    """
    try:
        if base is not None:
            base.mkdir(parents=True, exist_ok=True)
        staging = tempfile.mkdtemp(prefix=f".{version}-", dir=base)
    except OSError as e:
        raise ExportError(
            f"{base or tempfile.gettempdir()}: cannot be written "
            f"({e.strerror}); choose another --output_dir"
        ) from e
    try:
        # mkdtemp makes it for the owner alone; a server may be another user.
        os.chmod(staging, 0o755)
        yield pathlib.Path(staging)
    except (OSError, tf.errors.OpError) as e:
        raise ExportError(
            f"{base or tempfile.gettempdir()}: the export failed "
            f"({' '.join(str(e).split())[:300]}); nothing was published"
        ) from e
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _write(bundle, folder):
    archive = keras.export.ExportArchive()
    archive.track(bundle.model)
    for stream, encoder in bundle.encoders.items():
        archive.track(encoder.part(*encoders.kinds_of(bundle.inputs, stream)))
    built = signatures.build(bundle)
    for name, signature in built.items():
        archive.add_endpoint(
            name, signature.function, input_signature=signature.inputs
        )
    archive.write_out(str(folder), verbose=False)
    _set_methods(folder, {n: s.method for n, s in built.items()})
    assets = folder / "assets"
    assets.mkdir(exist_ok=True)
    files.write_json(assets / DESCRIPTION, bundle.describe())
    (assets / LABELS).write_text(
        "\n".join(bundle.labels.names) + "\n", encoding="utf-8"
    )


def _set_methods(folder, methods):
    """Writes what each signature may be called by; Keras writes Predict."""
    path = folder / _COMPLETES
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    for name, method in methods.items():
        saved.meta_graphs[0].signature_def[name].method_name = method
    path.write_bytes(saved.SerializeToString(deterministic=True))


def _prove(bundle, folder, batch_sizes) -> dict[str, float]:
    """Checks a SavedModel, then gives it its warmup requests."""
    proof.check_graph(folder)
    with GraphSession(folder) as session:
        differences = proof.check(bundle, folder, session)
        if batch_sizes:
            warmup.write(bundle, folder, session, batch_sizes)
    return differences
