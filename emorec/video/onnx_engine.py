"""The face detector's networks on ONNX Runtime, and its crops in NumPy."""

import numpy as np

from emorec.video.engine import MEAN_PIXEL

# Crops cut at a time: what lies between is 40 MB for those of ONet.
CHUNK = 256


class OnnxEngine:
    """MTCNN as `emorec export --format onnx` writes it; see `engine.Engine`.

    Args:
        pnet: An `onnxruntime.InferenceSession` with the input `pixels` f32
            [N, h, w, 3] and the outputs `offsets` and `logits`.
        rnet: The same for crops of 24x24.
        onet: The same for crops of 48x48.
    """

    def __init__(self, pnet, rnet, onet):
        self._sessions = {"pnet": pnet, "rnet": rnet, "onet": onet}

    def _run(self, name, pixels):
        return self._sessions[name].run(
            ["offsets", "logits"], {"pixels": pixels}
        )

    def pnet(self, pixels, threshold):
        offsets, logits = self._run("pnet", pixels)
        cells = np.argwhere(logits > np.float32(threshold))
        where = tuple(cells.T)
        return cells, offsets[where], logits[where]

    def load(self, frames):
        return frames

    def crop(self, loaded, corners, index, size):
        return crop_and_resize(loaded, corners, index, size)

    def rnet(self, crops):
        return self._run("rnet", crops)

    def onet(self, crops):
        return self._run("onet", crops)


def crop_and_resize(
    frames: np.ndarray, corners: np.ndarray, index: np.ndarray, size: int
) -> np.ndarray:
    """Does what `tf.image.crop_and_resize` does, bilinear, grey outside.

    Args:
        frames: uint8 or f32 [N, h, w, 3].
        corners: f32 [M, 4], y0, x0, y1, x1 as shares of h - 1 and w - 1.
        index: int32 [M], each box's frame.
        size: Side of the crops, 2 or more.

    Returns:
        f32 [M, size, size, 3].
    """
    crops = np.empty((len(corners), size, size, 3), np.float32)
    for i in range(0, len(corners), CHUNK):
        part = slice(i, i + CHUNK)
        _crop(frames, corners[part], index[part], crops[part])
    return crops


def _crop(frames, corners, index, crops):
    """Fills `crops` with one chunk."""
    _, height, width, _ = frames.shape
    size = crops.shape[1]
    top, bottom, y, inside_y = _samples(corners[:, [0, 2]], height, size)
    left, right, x, inside_x = _samples(corners[:, [1, 3]], width, size)
    pixels = frames.reshape(-1, 3)
    first = index.astype(np.int64)[:, None] * height

    def row(number):
        # Pixels of a row of samples, [M, size, size, 3], between two columns.
        start = ((first + number) * width)[:, :, None]
        a = pixels.take(start + left[:, None], axis=0).astype(np.float32)
        b = pixels.take(start + right[:, None], axis=0).astype(np.float32)
        b -= a
        b *= x[:, None, :, None]
        b += a
        return b

    above, below = row(top), row(bottom)
    below -= above
    below *= y[:, :, None, None]
    np.add(above, below, out=crops)
    crops[~(inside_y[:, :, None] & inside_x[:, None])] = MEAN_PIXEL


def _samples(ends, length, size):
    """Returns where an axis is sampled.

    Args:
        ends: f32 [M, 2], the crops' first and last sample as shares of
            length - 1.
        length: Pixels of the axis.
        size: Samples of a crop.

    Returns:
        `(before int64, after int64, share f32, inside bool)`, [M, size]
        each: the pixels on both sides, how far the sample lies from the one
        before, and whether it lies within the frame.
    """
    # In f32 and in this order of operations, as TensorFlow has it.
    last = np.float32(length - 1)
    low, high = ends[:, :1] * last, ends[:, 1:]
    step = (high - ends[:, :1]) * last / np.float32(size - 1)
    place = low + np.arange(size, dtype=np.float32) * step
    inside = (place >= 0) & (place <= last)
    place = np.where(inside, place, 0)
    before = np.floor(place)
    return (
        before.astype(np.int64),
        np.ceil(place).astype(np.int64),
        place - before,
        inside,
    )
