"""The pixels of a clip's crops, decoded without TensorFlow."""

from collections.abc import Sequence

import cv2
import numpy as np

from emorec import aligned
from emorec.errors import RecordError

_JPEG_START = b"\xff\xd8\xff"
_JPEG_END = b"\xff\xd9"


def decode_jpegs(jpegs: Sequence[bytes], size: int) -> np.ndarray:
    """Decodes crops to the pixels that `records.decode_jpegs` gives.

    Both use libjpeg-turbo's exact inverse transform, and our crops have no
    reduced colour: no pixel differs. Only crops of the model's size are
    taken, as all are that emorec cuts.

    Args:
        jpegs: JPEG images of n crops.
        size: Side of the crops in pixels.

    Returns:
        uint8 RGB [n, size, size, 3].

    Raises:
        RecordError: One is no JPEG image, or of another size.
    """
    images = aligned.empty((len(jpegs), size, size, 3), np.uint8)
    for i, data in enumerate(jpegs):
        image = _decoded(data)
        if image is None or image.shape[:2] != (size, size):
            raise RecordError(
                f"a crop must be a JPEG image of {size} x {size} pixels. "
                f"Received: {len(data)} bytes"
                + ("" if image is None else f", of {_size(image)} pixels")
            )
        cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=images[i])
    return images


def _decoded(data: bytes) -> np.ndarray | None:
    """Returns a JPEG's pixels uint8 BGR [H, W, 3]; None where it is none."""
    # OpenCV would try its other formats, and makes up the rest of a cut one.
    if data[:3] != _JPEG_START or data[-2:] != _JPEG_END:
        return None
    try:
        return cv2.imdecode(
            np.frombuffer(data, np.uint8),
            cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION,
        )
    except cv2.error:  # More pixels than it takes.
        return None


def _size(image) -> str:
    height, width = image.shape[:2]
    return f"{width} x {height}"
