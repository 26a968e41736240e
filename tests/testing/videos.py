"""Makes small videos for tests, sound ones and broken ones.

Each frame shows its own index: `picture(i)` is a grid of 4 x 4 blocks, dark or
light by the bits of i, which `index_of` reads back even after lossy coding.
"""

import pathlib
import random
import struct
from fractions import Fraction

import av
import av.stream
import numpy as np

# Display matrices: 16.16 fixed point a b c d of libavutil/display.h, by the
# counterclockwise turn that makes the stored picture upright.
MATRICES = {
    0: (1, 0, 0, 1),
    90: (0, -1, 1, 0),
    180: (-1, 0, 0, -1),
    270: (0, 1, -1, 0),
    "mirror": (-1, 0, 0, 1),
}


def picture(index: int, size=(64, 48)) -> np.ndarray:
    """Returns the uint8 [H,W,3] picture of frame `index`, 0 to 65535.

    Args:
        index: The number to show.
        size: (width, height) in pixels.
    """
    width, height = size
    bits = np.array([index >> b & 1 for b in range(16)], np.uint8)
    rows = np.arange(height) * 4 // height
    columns = np.arange(width) * 4 // width
    grey = 40 + 170 * bits.reshape(4, 4)[rows][:, columns]
    return np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)


def index_of(image: np.ndarray) -> int:
    """Reads back the index from a picture of any size."""
    height, width = image.shape[:2]
    index = 0
    for bit in range(16):
        y = (bit // 4 * 2 + 1) * height // 8
        x = (bit % 4 * 2 + 1) * width // 8
        block = image[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3]
        index |= int(block.mean() > 125) << bit
    return index


def write_video(
    path,
    count: int = 30,
    *,
    fps: float = 30.0,
    times=None,
    size=(64, 48),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    gop: int = 12,
    options=None,
    container_options=None,
    pictures=None,
    aspect=None,
    colours=None,
) -> pathlib.Path:
    """Writes a video; the name's ending chooses the container.

    Args:
        path: Where to.
        count: Frames, when neither `times` nor `pictures` says so.
        fps: Frames per second, when `times` is None.
        times: Seconds of each frame, rising; kept to 1/1000 s.
        size: (width, height) in pixels of the stored picture.
        codec: Encoder.
        pix_fmt: Pixel format.
        gop: Frames from keyframe to keyframe.
        options: Of the encoder.
        container_options: Of the muxer.
        pictures: uint8 [H,W,3] arrays to show instead of `picture(i)`.
        aspect: Width over height of a pixel (a Fraction).
        colours: (matrix, range) numbers of H.273 to code in and declare.
    """
    path = pathlib.Path(path)
    if pictures is None:
        total = count if times is None else len(times)
        pictures = (picture(i, size) for i in range(total))
    base = Fraction(1, 1000) if times is not None else 1 / Fraction(fps)
    with av.open(
        str(path), "w", container_options=container_options or {}
    ) as out:
        stream = out.add_stream(codec, rate=Fraction(fps), options=options)
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        context = stream.codec_context
        context.time_base = base
        context.gop_size = gop
        if aspect:
            context.sample_aspect_ratio = aspect
        if colours:
            context.colorspace, context.color_range = colours
        for i, image in enumerate(pictures):
            frame = _coded(image, pix_fmt, colours)
            frame.pts = i if times is None else round(times[i] * 1000)
            frame.time_base = base
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def _coded(image, pix_fmt, colours):
    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
    if colours is None:
        return frame
    matrix, limits = colours
    # The source is named another matrix, or PyAV would apply none.
    frame = frame.reformat(
        format=pix_fmt,
        src_colorspace=2,
        dst_colorspace=matrix,
        dst_color_range=limits,
    )
    frame.colorspace, frame.color_range = matrix, limits
    return frame


def turn(path, matrix=90) -> pathlib.Path:
    """Writes a display matrix into an MP4 or MOV, in place.

    PyAV has no call for it, so the nine numbers of the track header box are
    overwritten (ISO 14496-12, 8.3.2).

    Args:
        path: A file with one track.
        matrix: A key of `MATRICES`.
    """
    path = pathlib.Path(path)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd")
    if data[at + 4] != 0:
        raise ValueError("only version 0 of tkhd is known here")
    a, b, c, d = (v << 16 for v in MATRICES[matrix])
    struct.pack_into(">9i", data, at + 44, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def write_audio(path, *, cover: bool = False) -> pathlib.Path:
    """Writes a second of silence, with a cover picture if asked for."""
    path = pathlib.Path(path)
    with av.open(str(path), "w") as out:
        sound = out.add_stream("aac", rate=8000, layout="mono")
        if cover:
            image = out.add_stream("mjpeg", rate=1)
            image.width, image.height = 64, 48
            image.pix_fmt = "yuvj420p"
            image.disposition = av.stream.Disposition.attached_pic.value
            shot = av.VideoFrame.from_ndarray(picture(7), format="rgb24")
            packets = [*image.encode(shot), *image.encode()]
            out.mux(packets)
        for i in range(8):
            frame = av.AudioFrame.from_ndarray(
                np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
            )
            frame.sample_rate = 8000
            frame.pts = i * 1024
            out.mux(sound.encode(frame))
        out.mux(sound.encode())
    return path


def truncate(path, share: float) -> pathlib.Path:
    """Cuts a file down to `share` of its bytes, in place."""
    path = pathlib.Path(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def flip_bytes(path, count: int, *, seed: int = 0, after: float = 0.2):
    """Changes `count` bytes beyond the share `after` of a file, in place."""
    path = pathlib.Path(path)
    data = bytearray(path.read_bytes())
    chance = random.Random(seed)
    for _ in range(count):
        at = chance.randrange(int(len(data) * after), len(data))
        data[at] ^= chance.randrange(1, 256)
    path.write_bytes(data)
    return path


def write_huge_header(path, side: int = 60_000) -> pathlib.Path:
    """Writes an AVI of 64 x 48 whose header claims `side` x `side` pixels."""
    path = write_video(
        path, 3, codec="rawvideo", pix_fmt="bgr24", container_options={}
    )
    data = bytearray(path.read_bytes())
    at = data.index(b"strf") + 8  # BITMAPINFOHEADER: size, width, height.
    struct.pack_into("<2i", data, at + 4, side, side)
    path.write_bytes(data)
    return path
