"""Image files to pixels: four formats, and what is refused."""

import os
import struct

import cv2
import numpy as np
import pytest
from testing.images import picture, write

from emorec.features import image_file
from emorec.features.mini_xception import Resample


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp"])
def test_every_format_gives_its_pixels_and_its_size(tmp_path, suffix):
    image = picture(1, height=24, width=40)
    data = cv2.imencode(suffix, image)[1].tobytes()
    assert image_file.dimensions(data) == (40, 24)
    found = image_file.decode(data)
    assert found.shape == (24, 40, 3) and found.dtype == np.uint8
    worst = 0 if suffix in (".png", ".bmp") else 12
    assert np.abs(found[..., ::-1].astype(int) - image).max() <= worst


def test_webp_in_all_its_headers():
    image = picture(2, height=30, width=50)
    lossless = [cv2.IMWRITE_WEBP_QUALITY, 101]
    data = cv2.imencode(".webp", image, lossless)[1].tobytes()
    assert data[12:16] == b"VP8L"
    assert image_file.dimensions(data) == (50, 30)
    extended = (
        b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0"
        + (299).to_bytes(3, "little")
        + (70_000).to_bytes(3, "little")
    )
    assert image_file.dimensions(extended) == (300, 70_001)


def test_an_image_is_resized_as_the_networks_resize(tmp_path):
    image = picture(3, height=50, width=50)
    path = write(tmp_path / "a.png", image)
    for size in (16, 50, 80):
        layer = Resample((size, size))
        expected = np.asarray(layer(image[None, ..., ::-1]))[0]
        found = image_file.read(path, size).astype(float)
        # Rounding, and for enlarging cv2's fixed-point weights.
        assert np.abs(found - expected).max() < 1.01, size


def test_a_narrow_image_is_made_square_by_its_edges(tmp_path):
    image = np.zeros((40, 20, 3), np.uint8)
    image[:, :10], image[:, 10:] = (10, 20, 30), (200, 210, 220)
    found = image_file.read(write(tmp_path / "a.png", image), 40)
    assert found.shape == (40, 40, 3)
    assert (found[:, :20] == (30, 20, 10)).all()
    assert (found[:, 20:] == (220, 210, 200)).all()


def test_the_orientation_of_a_photograph_is_followed(tmp_path):
    image = np.zeros((32, 32, 3), np.uint8)
    image[:16] = 255
    data = cv2.imencode(".jpg", image)[1].tobytes()
    # An EXIF block of one entry: orientation 3, turned by 180 degrees.
    tiff = b"II*\0\x08\0\0\0" + struct.pack("<HHHII", 1, 0x112, 3, 1, 3)
    exif = b"Exif\0\0" + tiff + b"\0\0\0\0"
    block = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    found = image_file.decode(data[:2] + block + data[2:])
    assert found[0].max() < 10 and found[-1].min() > 245


def bad_images():
    png = cv2.imencode(".png", picture(4))[1].tobytes()
    jpg = cv2.imencode(".jpg", picture(4))[1].tobytes()
    huge = bytearray(png)
    huge[16:24] = struct.pack(">II", 60_000, 60_000)
    wide = bytearray(png)
    wide[16:24] = struct.pack(">II", 16_000_000, 1)
    none = bytearray(png)
    none[16:24] = struct.pack(">II", 0, 20)
    flipped = bytearray(png)
    flipped[len(png) // 2] ^= 255
    return {
        "empty": (b"", "is no PNG, JPEG, BMP or WebP picture"),
        "text": (b"hello", "is no PNG, JPEG, BMP or WebP picture"),
        "gif": (b"GIF89a" + bytes(40), "is no PNG, JPEG, BMP or WebP picture"),
        "header": (png[:20], "is damaged: its header is cut short"),
        "jpeg_header": (jpg[:12], "is damaged: its header is cut short"),
        "jpeg_noise": (b"\xff\xd8\xff\xe0\0\x02no", "no JPEG header"),
        "webp_header": (b"RIFF\0\0\0\0WEBPVP8 ", "its header is cut short"),
        "cut": (png[: len(png) // 2], "is damaged: it cannot be decoded"),
        "flipped": (flipped, "is damaged: it cannot be decoded"),
        "huge": (huge, "has 60000 x 60000 pixels, not 1 to 16777216"),
        "wide": (wide, "has 16000000 x 1 pixels"),
        "none": (none, "has 0 x 20 pixels"),
    }


@pytest.mark.parametrize("name", bad_images())
def test_a_bad_image_says_why(tmp_path, name):
    data, why = bad_images()[name]
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with pytest.raises(image_file.BadImageError) as e:
        image_file.read(path, 16)
    assert why in str(e.value)


def test_pipes_folders_and_large_files_are_not_read(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    write(tmp_path / "large.png")
    monkeypatch.setattr(image_file, "MAX_FILE_BYTES", 10)
    for name, why in {
        "pipe.png": "is no plain file",
        "folder.png": "is no plain file",
        "large.png": "bytes, more than 10",
        "absent.png": "cannot be read (No such file or directory)",
    }.items():
        with pytest.raises(image_file.BadImageError) as e:
            image_file.read(tmp_path / name, 16)
        assert why in str(e.value)
