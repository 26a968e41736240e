"""Image files from outside to pixels: bounds first, decoding after.

Only PNG, JPEG, BMP and WebP are decoded, told by their first bytes and not by
their names: the decoder knows a dozen rarer formats, none of which holds
photographs of faces.
"""

import os
import pathlib
import stat
import struct

import cv2
import numpy as np

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
MAX_FILE_BYTES = 64 << 20
MAX_PIXELS = 4096 * 4096
# Start-of-frame markers of JPEG: C0 to CF less tables and extensions.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Markers of JPEG that carry no length.
_JPEG_BARE = frozenset((0x01, *range(0xD0, 0xD8)))


class BadImageError(ValueError):
    """An image cannot be used; the message says why, without its name."""


def read(path: str | os.PathLike, size: int) -> np.ndarray:
    """Returns an image file as RGB pixels.

    Edges are repeated to make it square, as `emorec.video.clip` does at a
    frame's border, so that a face keeps its proportions. Then it is resized
    as `emorec.features.mini_xception.Resample` does.

    Args:
        path: The file.
        size: Side in pixels of what is returned.

    Returns:
        uint8 [size, size, 3].

    Raises:
        BadImageError: It is no plain file, too large or not readable.
    """
    image = decode(_bytes_of(path))
    height, width = image.shape[:2]
    side = max(height, width)
    if height != width:
        top, left = (side - height) // 2, (side - width) // 2
        image = cv2.copyMakeBorder(
            image,
            top,
            side - height - top,
            left,
            side - width - left,
            cv2.BORDER_REPLICATE,
        )
    how = cv2.INTER_AREA if size <= side else cv2.INTER_LINEAR
    return cv2.resize(image, (size, size), interpolation=how)


def decode(data: bytes) -> np.ndarray:
    """Decodes PNG, JPEG, BMP or WebP to uint8 [H, W, 3] RGB.

    An orientation in the file's EXIF is followed; transparency is dropped.

    Raises:
        BadImageError: It is none of these, too large or damaged.
    """
    width, height = dimensions(data)
    # Each side too: a picture of 16 million x 1 would be made square.
    if not 0 < width * height <= MAX_PIXELS or max(width, height) ** 2 > (
        4 * MAX_PIXELS
    ):
        raise BadImageError(
            f"has {width} x {height} pixels, not 1 to {MAX_PIXELS} in a "
            f"picture of sides up to {2 * int(MAX_PIXELS**0.5)}"
        )
    level = cv2.getLogLevel()
    cv2.setLogLevel(0)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    finally:
        cv2.setLogLevel(level)
    if image is None:
        raise BadImageError("is damaged: it cannot be decoded")
    return np.ascontiguousarray(image[..., ::-1])


def dimensions(data: bytes) -> tuple[int, int]:
    """Reads (width, height) from the header alone.

    Raises:
        BadImageError: It is no PNG, JPEG, BMP or WebP file.
    """
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return struct.unpack_from(">II", data, 16)
        if data.startswith(b"\xff\xd8\xff"):
            return _jpeg(data)
        if data.startswith(b"BM"):
            return _bmp(data)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _webp(data)
    except (struct.error, IndexError):
        raise BadImageError("is damaged: its header is cut short") from None
    raise BadImageError("is no PNG, JPEG, BMP or WebP picture")


def _jpeg(data):
    at = 2
    while True:
        if data[at] != 0xFF:
            raise BadImageError("is damaged: its header is no JPEG header")
        marker = data[at + 1]
        if marker == 0xFF:  # A fill byte.
            at += 1
        elif marker in _JPEG_BARE:
            at += 2
        elif marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        else:
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]


def _bmp(data):
    if struct.unpack_from("<I", data, 14)[0] == 12:  # BITMAPCOREHEADER.
        return struct.unpack_from("<HH", data, 18)
    # A negative height means rows from top to bottom.
    width, height = struct.unpack_from("<ii", data, 18)
    return abs(width), abs(height)


def _webp(data):
    kind = data[12:16]
    if kind == b"VP8X":  # Two times 24 bits, each less 1.
        low, high = data[24:27], data[27:30]
        sides = [int.from_bytes(b, "little") + 1 for b in (low, high)]
        return sides[0], sides[1]
    if kind == b"VP8L":  # Two times 14 bits, each less 1.
        bits = struct.unpack_from("<I", data, 21)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def _bytes_of(path) -> bytes:
    try:
        found = os.stat(path)
        # A pipe would be waited for.
        if not stat.S_ISREG(found.st_mode):
            raise BadImageError("is no plain file")
        if found.st_size > MAX_FILE_BYTES:
            raise BadImageError(
                f"has {found.st_size} bytes, more than {MAX_FILE_BYTES}"
            )
        return pathlib.Path(path).read_bytes()
    except OSError as e:
        raise BadImageError(f"cannot be read ({e.strerror})") from e
