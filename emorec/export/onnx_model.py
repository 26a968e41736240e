"""The recurrent network as ONNX, with ONNX's own LSTM operators.

A Keras LSTM that gets a mask becomes a loop of some thirty small operators a
step; one without becomes the LSTM operator, which takes the number of steps
of each clip as an input of its own. So the layers are joined a second time
without masks, and the numbers of steps are put in afterwards.

What differs lies beyond a clip's last step: the operator gives zeros where
Keras repeats the last output. The layers above have the mask or the numbers
of steps themselves, so that no answer depends on it.
"""

import keras
import tensorflow as tf

from emorec.errors import ExportError
from emorec.export import onnx_convert
from emorec.export.onnx_convert import Part

BATCH, STEPS = "batch", "steps"
# The graph's input, and what is made of it: int32 [batch].
_MASK = "mask"
_COUNTS = "steps_of_clip"
# Where the LSTM operator takes them.
_COUNTS_INPUT = 4


def convert(model: keras.Model, name: str):
    """Returns a network of `emorec.models` as an `onnx.ModelProto`.

    Args:
        model: The network, built with `use_cudnn=False`.
        name: What it is called in messages.

    Raises:
        ExportError: It cannot be converted, or an LSTM did not become the
            LSTM operator.
    """
    unmasked, lstms = _without_masks(model)
    made = onnx_convert.convert(_part(unmasked), name)
    _put_counts(name, made.graph, lstms)
    return made


def _without_masks(model):
    """Returns the same layers joined without masks, and how many LSTMs."""
    lstms = 0

    def call(layer, *args, **kwargs):
        nonlocal lstms
        if isinstance(layer, keras.layers.LSTM):
            lstms += 1
            kwargs["mask"] = None
        return layer(*args, **kwargs)

    made = keras.models.clone_model(
        model,
        clone_function=lambda layer: layer,
        call_function=call,
        # The members of an ensemble.
        recursive=True,
    )
    return made, lstms


def _part(model) -> Part:
    names = [t.name for t in model.inputs]

    def function(*values):
        return model(dict(zip(names, values, strict=True)), training=False)

    return Part(
        function,
        {
            t.name: (tf.as_dtype(t.dtype), (BATCH, STEPS, *t.shape[2:]))
            for t in model.inputs
        },
        {
            # Rows, and classes or steps.
            key: (BATCH, *(STEPS if n is None else n for n in t.shape[1:]))
            for key, t in model.output.items()
        },
    )


def _put_counts(name, graph, lstms):
    """Feeds the row sums of the mask to every LSTM operator."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    found = [n for n in graph.node if n.op_type == "LSTM"]
    if len(found) != lstms:
        raise ExportError(
            f"{name}: has {lstms} LSTM layers, and {len(found)} of them became "
            "ONNX's LSTM operator; use the versions of requirements.lock"
        )
    if not found:
        return
    axes, whole = f"{_COUNTS}_axes", f"{_COUNTS}_mask"
    graph.initializer.append(numpy_helper.from_array(np.array([1]), axes))
    made = [
        helper.make_node("Cast", [_MASK], [whole], to=TensorProto.INT32),
        helper.make_node("ReduceSum", [whole, axes], [_COUNTS], keepdims=0),
    ]
    for i, node in enumerate(made):
        node.name = node.output[0]
        # Before all that reads them: the order of nodes is that of running.
        graph.node.insert(i, node)
    for node in found:
        if node.input[_COUNTS_INPUT]:
            raise ExportError(
                f"{name}: {node.name} has numbers of steps already; use the "
                "versions of requirements.lock"
            )
        node.input[_COUNTS_INPUT] = _COUNTS
