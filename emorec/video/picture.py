"""Turns decoded pictures into upright RGB arrays with square pixels."""

import dataclasses

import av
import numpy as np
from av.sidedata.sidedata import Type
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from emorec.errors import VideoError
from emorec.video.container import (
    LIBAV_ERRORS,
    reason,
    shown,
)

# Pixel shapes beyond this ratio are taken for errors of the header.
_MAX_ASPECT = 4
# A stretch below this share is not worth the blur of a resampling.
_MIN_STRETCH = 0.01
# AVColorSpace (ITU-T H.273) numbers whose matrix is not BT.601's, as
# swscale's: BT.709, SMPTE 240M, BT.2020.
_MATRICES = {1: Colorspace.ITU709, 7: Colorspace.SMPTE240M, 9: 9}


@dataclasses.dataclass(frozen=True)
class Orientation:
    """A right-angled display matrix: first transpose, then the flips."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @property
    def rotation(self) -> int:
        """Counterclockwise degrees, 0, 90, 180 or 270; mirroring aside."""
        if self.transpose:
            return 270 if self.flip_x else 90
        return 180 if self.flip_y else 0

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Returns a view of an [H,W,C] image that stands upright."""
        if self.transpose:
            image = image.swapaxes(0, 1)
        return image[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]


def orientation_of(frame: av.VideoFrame) -> Orientation:
    """Reads a frame's display matrix, or the identity where it has none.

    The matrix (libavutil/display.h) holds nine int32 a b u, c d v, x y w; a
    stored point (p, q) is shown at (a p + c q, b p + d q). Angles between the
    right ones go to the nearest. `frame.rotation` would lose the mirroring
    of front cameras.
    """
    if Type.DISPLAYMATRIX not in frame.side_data:
        return Orientation()
    matrix = np.frombuffer(frame.side_data[Type.DISPLAYMATRIX], np.int32)
    a, b, c, d = (int(matrix[i]) for i in (0, 1, 3, 4))
    if abs(b) > abs(a):
        return Orientation(True, c < 0, b < 0)
    return Orientation(False, a < 0, d < 0)


class Upright:
    """Converts the frames of one video, all to the size of the first.

    Pixels that are not square are made so: MTCNN has learnt faces of natural
    proportions. Width is stretched; where that would pass `max_pixels`,
    height is reduced instead. A stream that changes its picture size is
    rescaled to its first size, so that boxes stay comparable.

    Args:
        first: The first decoded frame.
        aspect: Width over height of a stored pixel; None or 0 if unknown.
        path: Names the video in errors.
        max_pixels: Most pixels of a converted frame.

    Attributes:
        width, height: Size in pixels of every converted frame.
        rotation: See `VideoInfo.rotation`.
    """

    def __init__(self, first: av.VideoFrame, aspect, path, max_pixels: int):
        self._path = path
        self._size = _square(first.width, first.height, aspect, max_pixels)
        self._orientation = orientation_of(first)
        self._scaler = None
        self._colours = None
        turned = self._orientation.transpose
        self.width, self.height = self._size[::-1] if turned else self._size
        self.rotation = self._orientation.rotation

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        """Returns the frame as a fresh uint8 [H,W,3] RGB array.

        Raises:
            VideoError: The pixel format has no way to RGB.
        """
        colours = _colours(frame)
        if colours != self._colours:
            # swscale keeps the matrix of its context, so a new one.
            self._scaler, self._colours = VideoReformatter(), colours
        try:
            rgb = self._scale(frame)
        except LIBAV_ERRORS as e:
            raise VideoError(
                f"{shown(self._path)}: pictures of {frame.format.name} cannot "
                f"be turned into RGB ({reason(e)}); convert it to H.264"
            ) from e
        # A copy: the view would pin libav's padded buffer.
        return np.array(self._orientation.apply(rgb.to_ndarray()), order="C")

    def _scale(self, frame: av.VideoFrame) -> av.VideoFrame:
        width, height = self._size
        return self._scaler.reformat(
            frame,
            width=width,
            height=height,
            format="rgb24",
            interpolation="BICUBIC",
            **self._colours,
        )


def _square(width, height, aspect, max_pixels) -> tuple[int, int]:
    """Returns the size at which the stored pixels are square."""
    ratio = float(aspect or 1)
    if not 1 / _MAX_ASPECT <= ratio <= _MAX_ASPECT:
        ratio = 1.0
    if abs(ratio - 1) < _MIN_STRETCH:
        return width, height
    wide = max(1, round(width * ratio))
    if wide * height <= max_pixels:
        return wide, height
    return width, max(1, round(height / ratio))


def _colours(frame: av.VideoFrame) -> dict:
    """Says how the frame's colours are coded, where it says so itself.

    Left alone, PyAV takes all that is not `yuvj*` for BT.601 of limited
    range; on a BT.709 picture that shifts a saturated red by 17 of 255.
    """
    matrix = _MATRICES.get(int(frame.colorspace), Colorspace.ITU601)
    full = frame.color_range == ColorRange.JPEG
    coded = frame.format.name
    if coded.startswith(("yuvj", "rgb", "bgr", "gbr", "gray", "pal", "mono")):
        matrix, full = Colorspace.ITU601, False
    return {
        "src_colorspace": matrix,
        "dst_colorspace": Colorspace.ITU601,
        "src_color_range": ColorRange.JPEG if full else ColorRange.MPEG,
        "dst_color_range": ColorRange.MPEG,
    }
