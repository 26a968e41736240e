"""An ONNX directory: written, proven, then put under its name.

emorec.json            what the model is (`Bundle.describe`)
labels.txt             the labels, in the order of the logits
model.onnx             the recurrent network
<stream>_encoder.onnx  the encoder of each stream that it reads
pnet.onnx rnet.onnx onet.onnx  MTCNN, which finds the faces
model_card.md data_card.md  for people (`cards`)
onnx.json              SHA-256 of each file, opset, versions, what was
                       measured
"""

import hashlib
import importlib.metadata
import os
import pathlib
import shutil
import tempfile
from collections.abc import Sequence

import tensorflow as tf

import emorec
from emorec.data import files
from emorec.errors import ExportError
from emorec.export import (
    cards,
    names,
    onnx_convert,
    onnx_model,
    onnx_parts,
    onnx_proof,
)
from emorec.export.card_figures import Figures
from emorec.features import encoders
from emorec.training import train
from emorec.training.bundle import Bundle
from emorec.video.mtcnn_nets import MtcnnNets

# What made the files, and what has run them.
_VERSIONS = ("keras", "onnx", "onnxruntime", "tensorflow", "tf2onnx")
# Of the recurrent network: what decides how fast it is.
_COUNTED = ("LSTM", "Loop", "Scan")


def check(folder: str | os.PathLike) -> None:
    """Tells before the work what would stop an export.

    Raises:
        ExportError: A package is absent, or the folder is remote or not
            empty.
        ConfigError: Keras runs on another backend than TensorFlow.
    """
    train.check_backend("exporting")
    onnx_convert.check_packages()
    if files.is_remote(folder):
        raise ExportError(
            f"{folder}: an ONNX directory is written to a local folder; copy "
            "it from there"
        )
    if os.path.lexists(folder) and not (
        os.path.isdir(folder) and not os.listdir(folder)
    ):
        raise ExportError(
            f"{folder}: exists already and is not an empty folder, and an "
            "export is not written over; name another folder"
        )


def export(
    bundle: Bundle,
    folder: str | os.PathLike,
    figures: Sequence[Figures] | None = None,
) -> dict[str, dict[str, float]]:
    """Writes an ONNX directory.

    The folder appears under its name only after every file was loaded again
    and compared with the Keras model or the TensorFlow function it is made
    from.

    Args:
        bundle: The model, loaded with `use_cudnn=False`.
        folder: What is to be made; it must not exist, or be empty.
        figures: Of the model card (`cards.figures_of`); by default those of
            the training run.

    Returns:
        File -> output -> largest difference (`onnx_proof`).

    Raises:
        ExportError: As `check`; or a part cannot be converted, or written,
            or answers otherwise.
        ModelError: The features of the model were given, not computed.
        ConfigError: Keras runs on another backend than TensorFlow.
    """
    check(folder)
    final = pathlib.Path(os.path.realpath(folder))
    staging = None
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        staging = pathlib.Path(
            tempfile.mkdtemp(prefix=f".{final.name}-", dir=final.parent)
        )
        # mkdtemp makes it for the owner alone; another user may read it.
        os.chmod(staging, 0o755)
        differences = _write(bundle, staging, figures)
        os.rename(staging, final)
    except (OSError, tf.errors.OpError) as e:
        raise ExportError(
            f"{folder}: the export failed ({onnx_convert.one_line(e)}); "
            "nothing was written there"
        ) from e
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
    return differences


def _write(bundle, folder, figures) -> dict[str, dict[str, float]]:
    """Writes all files; returns the differences."""
    differences = {}
    for stream, encoder in bundle.encoders.items():
        name = names.onnx_encoder(stream)
        kinds = encoders.kinds_of(bundle.inputs, stream)
        part = onnx_parts.encoder_part(encoder, kinds)
        path = _save(onnx_convert.convert(part, name), folder / name)
        differences[name] = onnx_proof.check_encoder(path, encoder, kinds)
    differences[names.ONNX_MODEL] = _write_model(bundle, folder)
    differences |= _write_nets(folder)
    files.write_json(folder / names.DESCRIPTION, bundle.describe())
    (folder / names.LABELS).write_text(
        "\n".join(bundle.labels.names) + "\n", encoding="utf-8"
    )
    cards.write(folder, bundle, figures)
    counts = onnx_proof.operators(folder / names.ONNX_MODEL)
    files.write_json(
        folder / names.ONNX_JSON,
        {
            "format": names.ONNX_FORMAT,
            "opset": onnx_convert.OPSET,
            "versions": {
                "emorec": emorec.__version__,
                **{n: importlib.metadata.version(n) for n in _VERSIONS},
            },
            "operators": {n: counts[n] for n in _COUNTED if n in counts},
            "tolerance": onnx_proof.TOLERANCE,
            "differences": differences,
            "files": {p.name: _sha256(p) for p in sorted(folder.iterdir())},
        },
    )
    return differences


def _write_model(bundle, folder):
    name = names.ONNX_MODEL
    path = _save(onnx_model.convert(bundle.model, name), folder / name)
    return onnx_proof.check_model(path, bundle.model)


def _write_nets(folder):
    nets = MtcnnNets()
    differences = {}
    for name, part in onnx_parts.net_parts(nets).items():
        path = _save(onnx_convert.convert(part, name), folder / name)
        net = getattr(nets, path.stem)
        differences[name] = onnx_proof.check_net(path, net)
    return differences


def _save(model, path) -> pathlib.Path:
    path.write_bytes(model.SerializeToString())
    return path


def _sha256(path) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
