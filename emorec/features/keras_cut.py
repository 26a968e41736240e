"""A Keras classifier less its last layer: features, maps and answers."""

import keras
import numpy as np
from keras import layers

from emorec.errors import ModelError
from emorec.features import keras_file
from emorec.features.mini_xception import GREY, Resample
from emorec.features.resnet50 import MEAN_BGR, TO_BGR

# Side of the image for a network that takes any.
_ANY_SIDE = 224
# Numbers that one image may become in any layer: 256 MiB of f32.
_MAX_NUMBERS = 1 << 26
_MAX_DEPTH = 8
_SOFTMAX = "emorec_softmax"
# They do not change how a row of probabilities adds up.
_PASS = (
    "Dropout",
    "Flatten",
    "GlobalAveragePooling2D",
    "Identity",
    "Reshape",
    "Squeeze",
    "Cast",
)


def encoder_network(file: keras_file.Classifier, crop_size: int) -> keras.Model:
    """Builds uint8 [B, s, s, 3] -> dict of kind -> f32 from a classifier.

    `features` [B, D] is what goes into the last layer with weights, or the
    mean over the places where that has places (a convolution). `maps`
    [B, h, w, C] is the last tensor with places before it, where there is one.
    `probabilities` [B, K] is the classifier's answer: as it is after a
    softmax, with a softmax where it is linear, and absent where neither.

    Raises:
        ModelError: The model cannot be cut so, or does not fit `pixels`.
    """
    image = keras.Input((crop_size, crop_size, 3), dtype="uint8", name="image")
    try:
        first = _preprocess(file, image)
        answer = _apply(file.model, first)
    except ModelError:
        raise
    # A layer of another's file may fail in its own way.
    except Exception as e:
        raise ModelError(
            f"{file.name}: its layers cannot be applied to crops "
            f"({keras_file.one_line(e)}); give another classifier"
        ) from e
    outputs = _cut(file, first, answer)
    for kind, tensor in outputs.items():
        if None in tensor.shape[1:]:
            raise ModelError(
                f"{file.name}: the shape of its {kind} is not fixed "
                f"({tensor.shape}); give another classifier"
            )
    return keras.Model(image, outputs, name="keras_file")


def has_added_softmax(network: keras.Model) -> bool:
    """Whether a network of `encoder_network` puts a softmax of its own."""
    return any(layer.name == _SOFTMAX for layer in network.layers)


def _preprocess(file, image):
    """Resizes crops to the file's input and scales them."""
    _, height, width, channels = file.model.inputs[0].shape
    size, mix = (height or _ANY_SIDE, width or _ANY_SIDE), None
    scale, offset = {
        "raw": (1.0, 0.0),
        "unit": (1 / 255, 0.0),
        "signed": (1 / 127.5, -1.0),
        "caffe": (1.0, [-m for m in MEAN_BGR]),
    }[file.pixels]
    if channels == 1:
        mix = GREY
    elif file.pixels == "caffe":
        mix = TO_BGR
    if channels == 1 and file.pixels == "caffe":
        raise ModelError(
            f"{file.name}: takes grey images, which `features.file_pixels="
            "caffe` does not fit; choose raw, unit or signed"
        )
    x = Resample(size, mix, dtype="float32", name="emorec_resize")(image)
    return layers.Rescaling(
        scale, offset, dtype="float32", name="emorec_pixels"
    )(x)


def _apply(model, x, depth: int = 0):
    """Applies a model's layers one by one, those of models in it too.

    So all tensors are of one graph, and one pass gives any of them.

    Args:
        model: Functional or sequential, of one input.
        x: What goes into it.
        depth: Of the models in models.

    Returns:
        The tensor that comes out.
    """
    done = {id(model.inputs[0]): x}
    stack = [model.outputs[0]]
    while stack:
        tensor = stack[-1]
        if id(tensor) in done:
            stack.pop()
            continue
        operation, node = _source(tensor)
        missing = [t for t in node.input_tensors if id(t) not in done]
        if missing:
            stack.extend(missing)
            continue
        made = _call(operation, node, done, depth)
        for old, new in zip(
            node.output_tensors, keras.tree.flatten(made), strict=True
        ):
            if np.prod([n or 1 for n in new.shape], dtype=float) > _MAX_NUMBERS:
                raise ModelError(
                    f"the layer {operation.name!r} gives more than "
                    f"{_MAX_NUMBERS} numbers an image; give a smaller "
                    f"classifier. Received: {new.shape}"
                )
            done[id(old)] = new
    return done[id(model.outputs[0])]


def _call(operation, node, done, depth):
    one_in_one_out = len(node.input_tensors) == len(node.output_tensors) == 1
    if isinstance(operation, keras.Model) and one_in_one_out:
        if depth >= _MAX_DEPTH:
            raise ModelError(
                f"models lie in models, more than {_MAX_DEPTH} deep; save "
                "the classifier as one model"
            )
        return _apply(operation, done[id(node.input_tensors[0])], depth + 1)
    args, kwargs = keras.tree.map_structure(
        lambda t: done.get(id(t), t),
        (node.arguments.args, node.arguments.kwargs),
    )
    # A frozen encoder's dropout stays off, whatever the file says.
    return operation(
        *args, **{k: v for k, v in kwargs.items() if k != "training"}
    )


def _source(tensor):
    """Returns the operation that gave a tensor, and its call."""
    operation, index, _ = tensor._keras_history
    return operation, operation._inbound_nodes[index]


def _cut(file, first, answer) -> dict:
    """Returns the tensors of every kind; see `encoder_network`."""
    head, tensor, ending = _head(file, first, answer)
    outputs = {}
    if len(tensor.shape) == 4:
        pool = layers.GlobalAveragePooling2D(name="emorec_features")
        outputs["features"] = pool(tensor)
    elif len(tensor.shape) == 2:
        outputs["features"] = tensor
    else:
        raise ModelError(
            f"{file.name}: what goes into its last layer with weights, "
            f"{head.name!r}, must be [N, D] or [N, h, w, C]. Received: "
            f"{tensor.shape}"
        )
    maps = _maps(first, tensor)
    if maps is not None:
        outputs["maps"] = maps
    if ending == "linear":
        softmax = layers.Softmax(dtype="float32", name=_SOFTMAX)
        answer, ending = softmax(answer), "softmax"
    if ending == "softmax":
        outputs["probabilities"] = answer
    return {
        kind: t
        if t.dtype == "float32"
        else layers.Identity(dtype="float32", name=f"emorec_{kind}_f32")(t)
        for kind, t in outputs.items()
    }


def _head(file, first, answer):
    """Finds the last layer with weights, going back from the answer.

    Returns:
        (the layer, the tensor that goes into it, what the answer has gone
        through last: "softmax", "linear" or "other").
    """
    tensor, ending = answer, None
    while tensor is not first:
        layer, node = _source(tensor)
        if len(node.input_tensors) != 1:
            break
        ending = ending or _ending(layer)
        if getattr(layer, "weights", ()):
            wanted = isinstance(layer, layers.Dense | layers.Conv2D)
            if not wanted or tensor.shape[-1] != file.classes:
                break
            return layer, node.input_tensors[0], ending or "other"
        tensor = node.input_tensors[0]
    raise ModelError(
        f"{file.name}: its last layer with weights must be a Dense or a "
        f"Conv2D of {file.classes} outputs, its classes, in a line with the "
        "answer; give another classifier"
    )


def _ending(operation) -> str | None:
    """What a layer makes of an answer; None where it leaves it alone."""
    name = type(operation).__name__
    activation = getattr(operation, "activation", None)
    if name == "Softmax" or activation is keras.activations.softmax:
        return "softmax"
    if activation is keras.activations.linear:
        return None if name == "Activation" else "linear"
    return None if name in _PASS else "other"


def _maps(first, tensor):
    """Returns the last [N, h, w, C] on the way to a tensor, or None.

    One of 1 x 1 is what a pooling has left (MobileNet's keeps its places).
    """
    while len(tensor.shape) != 4 or tuple(tensor.shape[1:3]) == (1, 1):
        if tensor is first:
            return None
        _, node = _source(tensor)
        if len(node.input_tensors) != 1:
            return None
        tensor = node.input_tensors[0]
    # Pixels, resized and scaled, are no maps.
    end = tensor
    while end is not first:
        layer, node = _source(end)
        if getattr(layer, "weights", ()) or len(node.input_tensors) != 1:
            return tensor
        end = node.input_tensors[0]
    return None
