"""Videos of a wanted length and size, made of one clip and kept."""

import fractions
import hashlib
import os
import pathlib
from collections.abc import Iterator

import av
import cv2
import numpy as np

from benchmarks.processes import SideError

SUFFIXES = {".mp4", ".mov", ".avi", ".mkv", ".webm"}
# Of what is encoded here; most clips have 24 to 30.
FPS = 25


def listed(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the videos of a folder and its folders, by path."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)


def size_of(path: pathlib.Path) -> tuple[int, int, float]:
    """Returns width, height and seconds (0 where not stated)."""
    with av.open(str(path)) as opened:
        stream = opened.streams.video[0]
        seconds = opened.duration / av.time_base if opened.duration else 0.0
        return stream.width, stream.height, seconds


def frames(path: pathlib.Path) -> Iterator[np.ndarray]:
    """Yields a clip's frames, uint8 [H, W, 3] RGB."""
    with av.open(str(path)) as opened:
        for frame in opened.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def looped(
    source: pathlib.Path,
    folder: pathlib.Path,
    seconds: float,
    size: tuple[int, int],
    tiles: tuple[int, int] = (1, 1),
) -> pathlib.Path:
    """Returns a video of a clip again and again, made once.

    The clip is encoded anew (H.264) once; then its packets are repeated, so
    that half an hour is made as fast as it is written.

    Args:
        source: The clip.
        folder: Where videos are kept.
        seconds: The length, rounded to whole frames.
        size: Width and height of the video.
        tiles: Columns and rows of the clip beside and above itself.
    """
    width, height = size
    key = f"{source.resolve()} {source.stat().st_size} {tiles}"
    digest = hashlib.sha256(key.encode()).hexdigest()[:8]
    stem = f"{source.stem}-{digest}-{width}x{height}"
    made = folder / f"{stem}-{seconds:g}s.mp4"
    if made.is_file():
        return made
    folder.mkdir(parents=True, exist_ok=True)
    once = folder / f"{stem}-once.mp4"
    if not once.is_file():
        _encode(source, once, size, tiles)
    _repeat(once, made, round(seconds * FPS))
    return made


def _encode(source, target, size, tiles) -> None:
    """Encodes a clip's frames at `FPS`, as a mosaic of itself."""
    partial = target.with_name(f"{target.name}.{os.getpid()}.part")
    count = 0
    with av.open(str(partial), "w", format="mp4") as opened:
        stream = opened.add_stream("libx264", rate=FPS)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        # Without frames out of order, packets can be cut off anywhere.
        stream.options = {"preset": "veryfast", "crf": "20", "bf": "0"}
        for image in frames(source):
            picture = av.VideoFrame.from_ndarray(
                _mosaic(image, size, tiles), format="rgb24"
            )
            for packet in stream.encode(picture):
                opened.mux(packet)
            count += 1
            if count == 30 * FPS:
                break
        for packet in stream.encode():
            opened.mux(packet)
    if not count:
        raise SideError(f"{source}: has no frames; give other clips")
    partial.rename(target)


def _mosaic(image, size, tiles) -> np.ndarray:
    """Fills the frame with copies that keep the picture's proportions."""
    columns, lines = tiles
    width, height = size[0] // columns, size[1] // lines
    scale = max(width / image.shape[1], height / image.shape[0])
    resized = cv2.resize(
        image,
        (
            max(width, round(image.shape[1] * scale)),
            max(height, round(image.shape[0] * scale)),
        ),
        interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR,
    )
    left = (resized.shape[1] - width) // 2
    top = (resized.shape[0] - height) // 2
    tile = resized[top : top + height, left : left + width]
    return np.tile(tile, (lines, columns, 1))


def _repeat(once, target, count) -> None:
    """Copies packets again and again until there are `count` frames."""
    partial = target.with_name(f"{target.name}.{os.getpid()}.part")
    with (
        av.open(str(once)) as opened,
        av.open(str(partial), "w", format="mp4") as output,
    ):
        stream = opened.streams.video[0]
        copied = output.add_stream_from_template(stream)
        packets = [
            (bytes(p), p.pts, p.dts, p.is_keyframe)
            for p in opened.demux(stream)
            if p.pts is not None
        ]
        step = round(1 / (FPS * stream.time_base))
        number = 0
        while number < count:
            ahead = number // len(packets) * len(packets) * step
            data, pts, dts, is_key = packets[number % len(packets)]
            packet = av.Packet(data)
            packet.stream = copied
            packet.time_base = fractions.Fraction(stream.time_base)
            packet.pts, packet.dts = pts + ahead, dts + ahead
            # Else the last frame would lie beyond the video's end.
            packet.duration = step
            packet.is_keyframe = is_key
            output.mux(packet)
            number += 1
    partial.rename(target)
