"""The rows of a batch: requests joined along axis 0, and answers split again.

The checks and their words are those of TensorFlow Serving's BatchingSession.
"""

from collections.abc import Mapping, Sequence

import grpc
import numpy as np

from serving.server.status import StatusError, invalid

Arrays = Mapping[str, np.ndarray]


def count(inputs: Arrays) -> int:
    """Returns the rows of a request: the size of axis 0 of all its inputs.

    Raises:
        StatusError: INVALID_ARGUMENT, the inputs do not agree on it, or it
            is 0, which would abort the real server.
    """
    if not inputs:
        raise invalid("Batching Run() must have at least one input tensor")
    if any(array.ndim == 0 for array in inputs.values()):
        raise invalid(
            "Batching Run() input tensors must have at least one dimension"
        )
    sizes = {len(array) for array in inputs.values()}
    if len(sizes) > 1:
        raise invalid(
            "Batching Run() input tensors must have equal 0th-dimension size"
        )
    (size,) = sizes
    if not size:
        raise invalid(
            "Batching Run() input tensors must have at least one row; "
            "send a batch of 1 or more"
        )
    return size


def join(
    requests: Sequence[Arrays], size: int, pad_shapes: bool
) -> dict[str, np.ndarray]:
    """Joins the inputs of several requests.

    Args:
        requests: Arrays by the same names, each of 1 row or more.
        size: Rows of the result, at least those of the requests; the rows
            beyond them repeat the last request's first row.
        pad_shapes: Fill up arrays of other shapes at the end of each axis
            with their own first value, as the real server does; else they
            are refused.

    Raises:
        StatusError: FAILED_PRECONDITION, the shapes differ; INVALID_ARGUMENT,
            an empty array has no value to be filled up with.
    """
    joined = {}
    for name in requests[0]:
        arrays = [request[name] for request in requests]
        shapes = {array.shape[1:] for array in arrays}
        if len(shapes) > 1:
            if not pad_shapes or len({len(s) for s in shapes}) > 1:
                raise _different(name, pad_shapes)
            shape = tuple(map(max, zip(*shapes)))
            arrays = [_padded(array, shape) for array in arrays]
        missing = size - sum(map(len, arrays))
        if missing:
            arrays.append(np.repeat(arrays[-1][:1], missing, axis=0))
        joined[name] = np.concatenate(arrays) if len(arrays) > 1 else arrays[0]
    return joined


def split(
    outputs: Arrays, sizes: Sequence[int], size: int
) -> list[dict[str, np.ndarray]]:
    """Gives each request its rows of the outputs.

    Args:
        outputs: Arrays of `size` rows.
        sizes: Rows of each request, in order.
        size: Rows of the batch, with those that only fill it up.

    Raises:
        StatusError: FAILED_PRECONDITION, an output has another axis 0.
    """
    for array in outputs.values():
        if array.ndim == 0:
            raise _failed("Batched output tensor has 0 dimensions")
        if len(array) != size:
            raise _failed(
                "Batched output tensor's 0th dimension does not equal the sum "
                "of the 0th dimension sizes of the input tensors"
            )
    ends = np.cumsum(sizes)
    return [
        {name: array[end - n : end] for name, array in outputs.items()}
        for n, end in zip(sizes, ends)
    ]


def _padded(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if array.shape[1:] == shape:
        return array
    if not array.size:
        raise invalid("Got empty tensor in batch of non-empty tensors.")
    full = np.full((len(array), *shape), array.flat[0], array.dtype)
    full[tuple(slice(n) for n in array.shape)] = array
    return full


def _different(name: str, pad_shapes: bool) -> StatusError:
    if pad_shapes:
        return _failed(
            f"Tensors with name '{name}' from different tasks have different "
            "ranks, which padding does not mend."
        )
    return _failed(
        f"Tensors with name '{name}' from different tasks have different "
        "shapes and padding is turned off. Set pad_variable_length_inputs to "
        "true, or ensure that all tensors with the same name have equal "
        "dimensions starting with the first dim."
    )


def _failed(message: str) -> StatusError:
    return StatusError(grpc.StatusCode.FAILED_PRECONDITION, message)
