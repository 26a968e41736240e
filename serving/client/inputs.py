"""What a user has, as the input arrays of a signature."""

from collections.abc import Iterable, Sequence

import numpy as np

from serving.client.errors import BadRequest


def jpegs(
    face: Sequence[Sequence[bytes]] | None,
    context: Sequence[Sequence[bytes]] | None,
) -> dict[str, np.ndarray]:
    """Returns the inputs of `jpegs`; see `EmotionClient.jpegs`."""
    streams = {
        name: clips
        for name, clips in (("face", face), ("context", context))
        if clips is not None
    }
    lengths = {n: list(map(len, clips)) for n, clips in streams.items()}
    if len({tuple(of_stream) for of_stream in lengths.values()}) != 1:
        raise BadRequest(
            "`face` and `context` must have clips of equal lengths. "
            f"Received: {lengths}"
        )
    return {name: _padded(name, clips) for name, clips in streams.items()}


def features(
    face_features: np.ndarray | None,
    context_features: np.ndarray | None,
    mask: np.ndarray,
) -> dict[str, np.ndarray]:
    """Returns the inputs of `features`; see `EmotionClient.features`."""
    inputs = {"mask": as_array("mask", mask, bool)}
    for name, values in (
        ("face_features", face_features),
        ("context_features", context_features),
    ):
        if values is not None:
            inputs[name] = as_array(name, values, np.float32)
    return inputs


def frames(
    face: np.ndarray | None, context: np.ndarray | None, mask: np.ndarray
) -> dict[str, np.ndarray]:
    """Returns the inputs of `frames`; see `EmotionClient.frames`."""
    inputs = {"mask": as_array("mask", mask, bool)}
    for name, values in (("face", face), ("context", context)):
        if values is None:
            continue
        inputs[name] = as_array(name, values)
        if inputs[name].dtype != np.uint8:
            raise BadRequest(
                f"`{name}` must be uint8 [B,T,h,w,3]. Received: "
                f"{inputs[name].dtype} {list(inputs[name].shape)}"
            )
    return inputs


def video(
    images: Sequence[Sequence[bytes]], times: Sequence[Sequence[float]]
) -> dict[str, np.ndarray]:
    """Returns the inputs of `video`; see `EmotionClient.video`."""
    counts = list(map(len, images)), list(map(len, times))
    if counts[0] != counts[1]:
        raise BadRequest(
            "`images` and `times` must have equal lengths. Received: "
            f"{counts[0]} and {counts[1]}"
        )
    array = _padded("images", images)
    seconds = np.zeros(array.shape, np.float32)
    for row, of_video in zip(seconds, times):
        if len(of_video):
            # Padding repeats the last: times never run backwards.
            row[: len(of_video)] = as_array("times", of_video, np.float32)
            row[len(of_video) :] = row[len(of_video) - 1]
    return {"frames": array, "times": seconds}


def examples(serialized: Iterable[bytes]) -> dict[str, np.ndarray]:
    """Returns the input of a signature of records, string [B]."""
    values = list(serialized)
    array = np.empty(len(values), object)
    array[:] = values
    return {"examples": array}


def as_array(name: str, value, dtype: type | None = None) -> np.ndarray:
    """Returns an input as an array; `dtype` None is its own.

    Raises:
        BadRequest: It is none: ragged, or of things that are no numbers.
    """
    try:
        return np.asarray(value, dtype)
    except (ValueError, TypeError) as e:
        wanted = f" of {np.dtype(dtype).name}" if dtype else ""
        raise BadRequest(
            f"`{name}` must be one array{wanted}, its rows of equal lengths "
            f"({e})"
        ) from e


def _padded(name: str, clips: Sequence[Sequence[bytes]]) -> np.ndarray:
    """Returns string [B,T], padded with "" to the longest clip."""
    length = max([1, *map(len, clips)])
    array = np.full((len(clips), length), b"", object)
    for i, clip in enumerate(clips):
        for t, frame in enumerate(clip):
            if not isinstance(frame, bytes) or not frame:
                raise BadRequest(
                    f"`{name}` must hold encoded JPEGs as bytes; clip {i}, "
                    f"frame {t} is {frame!r:.40}"
                )
            array[i, t] = frame
    return array
