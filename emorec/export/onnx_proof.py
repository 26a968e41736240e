"""The proof of an ONNX directory: onnxruntime against Keras and TensorFlow.

Every file is read from the disk again, as `emorec predict --onnx` reads it.
"""

import pathlib
from collections.abc import Callable, Iterable, Sequence

import cv2
import keras
import numpy as np
import tensorflow as tf

from emorec.errors import ExportError
from emorec.evaluation.metrics import softmax
from emorec.export import onnx_parts
from emorec.export.onnx_convert import nodes, one_line
from emorec.features.encoder import Encoder

# Largest difference of a probability or an attention weight, and of any other
# output relative to its scale.
TOLERANCE = 1e-5
# (steps of each clip, T): one clip and many, short and long, without any
# frame, and a batch in which nobody has a face.
CLIPS = (((1,), 1), ((3, 0, 2, 64), 65), ((0,), 4), ((0, 0), 0), ((128,), 128))
# What a client may leave in the padding.
_PADDING = np.nan
_SHARES = ("probabilities", "attention")


def check_model(path: pathlib.Path, model: keras.Model) -> dict[str, float]:
    """Compares the recurrent network with the Keras model.

    Args:
        path: The ONNX file.
        model: The Keras model.

    Returns:
        `probabilities`, `logits` and, where there is one, `attention` ->
        largest difference; that of the logits relative to their scale.

    Raises:
        ExportError: It cannot be run, or answers otherwise.
    """

    def expected(inputs):
        return model(inputs, training=False)

    rng = np.random.default_rng(0)
    requests = [_clips(model, *clips, rng) for clips in CLIPS]
    return _compare(path, expected, requests, _with_probabilities)


def check_encoder(
    path: pathlib.Path, encoder: Encoder, kinds: Sequence[str]
) -> dict[str, float]:
    """Compares an encoder; returns kind -> largest difference.

    Raises:
        ExportError: As `check_model`.
    """
    images = _images(encoder.crop_size)
    return _compare(
        path,
        lambda inputs: encoder.encode_kinds(inputs[onnx_parts.IMAGES], kinds),
        [{onnx_parts.IMAGES: part} for part in (images, images[:1])],
    )


def check_net(path: pathlib.Path, net: Callable) -> dict[str, float]:
    """Compares one of MTCNN's networks; returns output -> largest difference.

    Args:
        path: The ONNX file; its name says which network it is.
        net: f32 [N, h, w, 3] -> offsets and logits.

    Raises:
        ExportError: As `check_model`.
    """
    side = onnx_parts.NET_SIDES.get(path.name)
    shapes = ((1, 12, 12), (3, 37, 50), (1, 65, 30))
    if side is not None:
        shapes = ((1, side, side), (5, side, side))
    rng = np.random.default_rng(0)
    requests = [
        {onnx_parts.PIXELS: np.float32(rng.uniform(0, 255, (*s, 3)))}
        for s in shapes
    ]
    return _compare(
        path,
        lambda inputs: dict(
            zip(
                ("offsets", "logits"),
                net(tf.constant(inputs[onnx_parts.PIXELS])),
                strict=True,
            )
        ),
        requests,
    )


def operators(path: pathlib.Path) -> dict[str, int]:
    """Counts the operators of a file, those in loops too."""
    import onnx

    counts: dict[str, int] = {}
    for node in nodes(onnx.load(path).graph):
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return counts


def _compare(
    path: pathlib.Path,
    expected: Callable[[dict], dict],
    requests: Iterable[dict[str, np.ndarray]],
    finish: Callable[[dict], dict] = lambda outputs: outputs,
) -> dict[str, float]:
    """Asks both with the same requests; see `check_model`."""
    run = _session(path)
    worst: dict[str, float] = {}
    for request in requests:
        wanted, found = (
            finish({k: np.asarray(v) for k, v in outputs.items()})
            for outputs in (expected(request), run(request))
        )
        if set(wanted) != set(found):
            raise ExportError(
                f"{path.name}: must give {', '.join(sorted(wanted))}. "
                f"Received: {', '.join(sorted(found))}"
            )
        for key in wanted:
            difference = _difference(path, key, wanted[key], found[key])
            worst[key] = max(worst.get(key, 0.0), difference)
    return worst


def _difference(path, key, wanted, found) -> float:
    """Returns the largest difference, relative where it is no share."""
    if wanted.shape != found.shape or wanted.dtype != found.dtype:
        raise ExportError(
            f"{path.name}: {key} must be {wanted.dtype} {list(wanted.shape)}. "
            f"Received: {found.dtype} {list(found.shape)}"
        )
    scale = 1.0 if key in _SHARES else np.abs(wanted).max(initial=0.0)
    difference = float(np.abs(wanted - found).max(initial=0.0) / (scale or 1.0))
    if not difference <= TOLERANCE:
        raise ExportError(
            f"{path.name}: {key} differs by {difference:.2g} from the "
            f"model's; at most {TOLERANCE:g} is right"
        )
    return difference


def _session(path) -> Callable[[dict], dict]:
    """Loads a file as anybody does: checked by onnx, run by onnxruntime."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # What fails is raised.
    try:
        onnx.checker.check_model(str(path), full_check=True)
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    # Neither library has a base class for its errors.
    except Exception as e:
        raise ExportError(
            f"{path.name}: is no model that onnxruntime loads ({one_line(e)})"
        ) from e
    gives = [o.name for o in session.get_outputs()]
    takes = {i.name for i in session.get_inputs()}

    def run(request):
        try:
            answer = session.run(
                gives, {k: v for k, v in request.items() if k in takes}
            )
        except Exception as e:
            shapes = {k: list(v.shape) for k, v in request.items()}
            raise ExportError(
                f"{path.name}: cannot be run by onnxruntime on {shapes} "
                f"({one_line(e)})"
            ) from e
        return dict(zip(gives, answer, strict=True))

    return run


def _with_probabilities(outputs):
    return {**outputs, "probabilities": softmax(outputs["logits"])}


def _clips(model, counts, steps, rng) -> dict[str, np.ndarray]:
    """Makes inputs of a network, with `_PADDING` beyond each clip's end."""
    mask = np.arange(steps)[None] < np.array(counts)[:, None]
    made = {"mask": mask}
    for tensor in model.inputs:
        if tensor.name != "mask":
            # Features, maps and probabilities are none of them negative.
            shape = (*mask.shape, *tensor.shape[2:])
            x = np.abs(rng.standard_normal(shape, np.float32))
            x[~mask] = _PADDING
            made[tensor.name] = x
    return made


def _images(side) -> np.ndarray:
    """Makes uint8 [4, s, s, 3]: as a crop, coarser, noise, and all black."""
    rng = np.random.default_rng(0)
    made = [
        cv2.resize(
            rng.integers(0, 255, (n, n, 3), np.uint8),
            (side, side),
            interpolation=cv2.INTER_CUBIC,
        )
        for n in (32, 6, side)
    ]
    return np.stack([*made, np.zeros_like(made[0])])
