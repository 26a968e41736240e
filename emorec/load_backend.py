"""A backend out of a path or a preset's name, told apart by what is there."""

import os

from emorec import preset_models
from emorec.data import files
from emorec.errors import ModelError, UsageError

KINDS = ("model_dir", "saved_model", "onnx")


def load(
    path: str | os.PathLike,
    *,
    kind: str | None = None,
    threads: int | None = None,
    bfloat16: str | None = None,
):
    """Returns an `emorec.predict.Backend`.

    Args:
        path: A model folder of `emorec train` (local or remote), a SavedModel
            (a version folder, or a base path: its newest version), an ONNX
            directory, or a key of `preset_models.PRESETS`.
        kind: One of `KINDS`; by default what lies in the folder tells.
        threads: Of each network of ONNX; by default one for each core.
        bfloat16: In place of `features.bfloat16` of a model folder's config.

    Raises:
        UsageError: The kind is unknown, threads are given for another one
            than ONNX, or `bfloat16` for another one than a model folder.
        ConfigError: `bfloat16` is no choice that there is.
        EmorecError: There is no model, it is damaged, or what runs it is not
            installed.
    """
    if kind is None and str(path) in preset_models.PRESETS:
        _check_threads(threads, "a preset")
        _check_bfloat16(bfloat16, "a preset")
        return preset_models.load(str(path))
    kind = _kind_of(path) if kind is None else kind
    if kind in KINDS and kind != "model_dir":
        _check_bfloat16(bfloat16, kind)
    if kind == "onnx":
        from emorec.onnx_backend import OnnxBackend

        return OnnxBackend(path, threads)
    if kind not in KINDS:
        raise UsageError(
            f"`kind` must be {', '.join(KINDS)}. Received: {kind!r}"
        )
    _check_threads(threads, kind)
    if kind == "saved_model":
        from emorec import saved_model_backend

        return saved_model_backend.SavedModelBackend(path)
    from emorec import local_backend
    from emorec.training import graphs

    made = graphs.load(path)
    if bfloat16 is not None:
        made = made.with_bfloat16(bfloat16)
    return local_backend.LocalBackend(made)


def _kind_of(path) -> str:
    """Tells what a folder holds.

    Raises:
        ModelError: It holds no model, or there is none.
    """
    from emorec.export import names

    # As `emorec.training.bundle.FILE`, whose import would load Keras.
    if files.exists(files.join(path, "model.json")):
        return "model_dir"
    if files.exists(files.join(path, names.ONNX_JSON)):
        return "onnx"
    if _is_saved_model(path):
        return "saved_model"
    what = "holds no model" if os.path.isdir(path) else "no such model"
    raise ModelError(
        f"{path}: {what}; give a folder of `emorec train` or `emorec export`, "
        f"or a preset: {', '.join(preset_models.PRESETS)}"
    )


def _is_saved_model(path) -> bool:
    if not os.path.isdir(path):
        return False
    inside = [path, *(e.path for e in os.scandir(path) if e.name.isdigit())]
    return any(
        os.path.isfile(os.path.join(p, "saved_model.pb")) for p in inside
    )


def _check_threads(threads, kind):
    if threads is not None:
        raise UsageError(
            "`threads` belongs to an ONNX model; TensorFlow's are set by "
            "`tf.config.threading` before anything runs. Received: "
            f"{threads} for {kind}"
        )


def _check_bfloat16(bfloat16, kind):
    if bfloat16 is not None:
        raise UsageError(
            "`bfloat16` belongs to a model folder; an exported model computes "
            f"as it was exported. Received: {bfloat16!r} for {kind}"
        )
