"""TensorFlow functions to ONNX, by tf2onnx.

tf2onnx and onnx are imported where they are used: they are an extra, and
importing them costs seconds.
"""

import contextlib
import dataclasses
import gc
import importlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping

import tensorflow as tf

from emorec.errors import ExportError

# tf2onnx 1.17 writes up to 18; every onnxruntime since 1.12 (2022) runs 17.
OPSET = 17
PACKAGES = ("tf2onnx", "onnx", "onnxruntime")
# Of ONNX itself; any other one would need an extension of the runtime.
_STANDARD_DOMAINS = ("", "ai.onnx")
_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"

Shape = tuple[int | str, ...]


@dataclasses.dataclass(frozen=True)
class Part:
    """A function that becomes one ONNX file.

    Attributes:
        function: Takes its inputs by position; gives a dict of tensors.
        inputs: Name -> (dtype, shape); a name in a shape stands for a size
            that may be any, and is written into the file.
        outputs: Name -> shape.
    """

    function: Callable[..., dict]
    inputs: Mapping[str, tuple[tf.DType, Shape]]
    outputs: Mapping[str, Shape]


def check_packages() -> None:
    """Imports what an export to ONNX needs.

    Raises:
        ExportError: A package is absent or does not fit the others.
    """
    for package in PACKAGES:
        try:
            with _same_environment():
                importlib.import_module(package)
        except ImportError as e:
            raise ExportError(
                f"exporting to ONNX needs {', '.join(PACKAGES)} "
                f"({one_line(e)}); install emorec[onnx]"
            ) from e


def convert(part: Part, name: str):
    """Returns a function as an `onnx.ModelProto`; `onnx_proof` checks it.

    Args:
        part: The function.
        name: What it is called in messages and in the file.

    Raises:
        ExportError: An operator has no counterpart in ONNX, or an input or an
            output got lost.
    """
    with _same_environment():
        from tf2onnx import convert as tf2onnx
    specs = [
        tf.TensorSpec(
            [None if isinstance(n, str) else n for n in shape], dtype, key
        )
        for key, (dtype, shape) in part.inputs.items()
    ]
    function = tf.function(part.function, autograph=False)
    with _quiet(), _collected():
        try:
            model, _ = tf2onnx.from_function(
                function,
                specs,
                opset=OPSET,
                custom_op_handlers={
                    "FloorDiv": (_floor_div, []),
                    "SelectV2": (_select, []),
                },
            )
        # It raises whatever comes to it where it cannot convert.
        except Exception as e:
            raise ExportError(
                f"{name}: cannot be converted to ONNX ({one_line(e)}); export "
                "it as a SavedModel instead"
            ) from e
    # Kept by `function` since then, so that it is the one converted.
    _put_captures(model.graph, function.get_concrete_function(*specs))
    model.graph.name = name
    model.graph.doc_string = model.doc_string = ""
    _name_sizes(
        name,
        model.graph.input,
        {key: shape for key, (_, shape) in part.inputs.items()},
    )
    _name_sizes(name, model.graph.output, part.outputs)
    # tf2onnx declares it always and nothing here uses it.
    standard = [o for o in model.opset_import if o.domain in _STANDARD_DOMAINS]
    del model.opset_import[:]
    model.opset_import.extend(standard)
    _check_operators(name, model)
    return model


def nodes(graph) -> Iterator:
    """Yields every node of an ONNX graph, those in loops and branches too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from nodes(attribute.g)


def one_line(error: BaseException) -> str:
    """Returns an error of another library as one line of bounded length."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def _put_captures(graph, concrete):
    """Turns tensors that a function holds into constants.

    Variables are constants already. Some layers (`Normalization`) hold plain
    tensors too, and tf2onnx makes those further inputs.
    """
    from onnx import numpy_helper

    held = {inner.name: outer for outer, inner in concrete.graph.captures}
    for value in [v for v in graph.input if v.name in held]:
        graph.input.remove(value)
        graph.initializer.append(
            numpy_helper.from_array(held[value.name].numpy(), value.name)
        )


def _check_operators(name, model):
    """Refuses what no plain ONNX runtime has, a TensorFlow op left as it is."""
    import onnx

    foreign = sorted(
        {
            f"{n.domain}.{n.op_type}".lstrip(".")
            for n in nodes(model.graph)
            if n.domain not in _STANDARD_DOMAINS or not onnx.defs.has(n.op_type)
        }
    )
    if foreign:
        raise ExportError(
            f"{name}: {', '.join(foreign)} is no operator of ONNX; choose "
            "another network"
        )


def _name_sizes(name, values, shapes):
    """Writes the shapes of inputs or outputs into the file.

    tf2onnx gives each unknown size a name of its own.
    """
    found = {v.name for v in values}
    if found != set(shapes):
        raise ExportError(
            f"{name}: must have {', '.join(sorted(shapes))}. "
            f"Received: {', '.join(sorted(found))}; use the versions of "
            "requirements.lock"
        )
    for value in values:
        sizes = value.type.tensor_type.shape
        del sizes.dim[:]
        for size in shapes[value.name]:
            if isinstance(size, str):
                sizes.dim.add(dim_param=size)
            else:
                sizes.dim.add(dim_value=size)


def _floor_div(ctx, node, name, args):
    """Divides integers towards minus infinity.

    tf2onnx 1.17 makes it ONNX's Div, which goes towards 0. Mod has the sign
    of the divisor, so (a - a mod b) / b is exact.
    """
    kind = ctx.get_dtype(node.input[0])
    shape = ctx.get_shape(node.output[0])
    a, b, output = *node.input, node.output[0]
    ctx.remove_node(name)
    made = {"dtypes": [kind], "shapes": [shape]}
    if kind in _floats():
        quotient = ctx.make_node("Div", [a, b], **made).output[0]
        ctx.make_node("Floor", [quotient], name=name, outputs=[output], **made)
        return
    rest = ctx.make_node("Mod", [a, b], **made).output[0]
    whole = ctx.make_node("Sub", [a, rest], **made).output[0]
    ctx.make_node("Div", [whole, b], name=name, outputs=[output], **made)


def _floats():
    from onnx import TensorProto

    return TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE


def _select(ctx, node, name, args):
    """Chooses, as TensorFlow does.

    tf2onnx 1.17 makes it `c x + (1 - c) y`, where NaN in the padding of `x`
    would spoil every step that is chosen from `y`.
    """
    node.type = "Where"


@contextlib.contextmanager
def _quiet():
    """Keeps tf2onnx from writing to the terminal: what fails is raised."""
    logger = logging.getLogger("tf2onnx")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _collected():
    """Frees at once what tf2onnx drops: a copy of the weights for each step.

    They are few large objects in cycles, which Python's collector leaves for
    long in a process as large as TensorFlow's. It looks at new objects only
    meanwhile, and often: a ResNet50 took 6.9 GB without.
    """
    if gc.get_freeze_count():  # By a program that calls us: not ours to end.
        yield
        return
    thresholds = gc.get_threshold()
    gc.freeze()
    gc.collect()  # Resets its count of old objects, all of them frozen.
    gc.set_threshold(100, 1, 1)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


@contextlib.contextmanager
def _same_environment():
    """Takes back what importing tf2onnx sets: TensorFlow's log level."""
    before = os.environ.get(_LOG_LEVEL)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_LOG_LEVEL, None)
        else:
            os.environ[_LOG_LEVEL] = before
