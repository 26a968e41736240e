"""The pixels that the reader gives: every coding, upright, square, coloured."""

import dataclasses
import math
from fractions import Fraction

import av
import numpy as np
import pytest
from testing import videos

from emorec.config import VideoConfig
from emorec.video.reader import probe, read_frames

CONFIG = VideoConfig()


def read_all(path):
    """Returns [(index shown, time)] of every frame, and the info."""
    with read_frames(path, CONFIG, fps=240.0) as reader:
        found = [(videos.index_of(f.image), f.time) for f in reader]
    return found, reader.info


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("v.mp4", {}),
        ("v.mkv", {}),
        ("v.ts", {}),
        ("v.flv", {"codec": "flv"}),
        ("v.avi", {"codec": "mpeg4"}),
        ("bottom_up.avi", {"codec": "rawvideo", "pix_fmt": "bgr24"}),
        ("rgb.mov", {"codec": "qtrle", "pix_fmt": "rgb24"}),
        ("grey.mkv", {"codec": "ffv1", "pix_fmt": "gray"}),
        ("alpha.mkv", {"codec": "ffv1", "pix_fmt": "yuva420p"}),
        ("ten_bit.mkv", {"codec": "libx264", "pix_fmt": "yuv420p10le"}),
        (
            "hevc_ten_bit.mov",
            {
                "codec": "libx265",
                "pix_fmt": "yuv420p10le",
                "options": {"x265-params": "log-level=none"},
            },
        ),
        ("odd_size.mkv", {"codec": "ffv1", "size": (65, 49)}),
        ("v.mpg", {"codec": "mpeg2video"}),
        ("v.webm", {"codec": "libvpx-vp9"}),
    ],
)
def test_containers_codecs_and_pixel_formats(tmp_path, name, options):
    path = videos.write_video(tmp_path / name, 12, fps=30, **options)
    found, info = read_all(path)
    assert [i for i, _ in found] == list(range(12))
    times = [t for _, t in found]
    assert times == pytest.approx([i / 30 for i in range(12)], abs=1e-3)
    assert (info.width, info.height) == options.get("size", (64, 48))
    assert info == probe(path, CONFIG)


@pytest.mark.parametrize("ending", ["mp4", "mov"])
@pytest.mark.parametrize("turn", [90, 180, 270])
def test_rotated_video_stands_upright(tmp_path, turn, ending):
    # Stored lying down: turned clockwise by what the matrix turns back.
    upright = [videos.picture(i, (48, 64)) for i in range(8)]
    stored = [np.rot90(image, -turn // 90).copy() for image in upright]
    path = videos.write_video(
        tmp_path / f"v.{ending}",
        pictures=stored,
        size=stored[0].shape[1::-1],
    )
    videos.turn(path, turn)
    found, info = read_all(path)
    assert [i for i, _ in found] == list(range(8))
    assert (info.width, info.height, info.rotation) == (48, 64, turn)
    with av.open(str(path)) as container:  # libav reads the same angle.
        frame = next(container.decode(video=0))
        assert frame.rotation % 360 == turn


def test_mirrored_video_is_mirrored_back(tmp_path):
    stored = [videos.picture(i)[:, ::-1].copy() for i in range(8)]
    path = videos.write_video(tmp_path / "v.mp4", pictures=stored)
    found, info = read_all(videos.turn(path, "mirror"))
    assert [i for i, _ in found] == list(range(8))
    assert info.rotation == 0


@pytest.mark.parametrize(
    ("aspect", "max_pixels", "size"),
    [
        (Fraction(4, 3), 10_000, (85, 48)),
        (Fraction(1, 2), 10_000, (32, 48)),
        (Fraction(4, 3), 64 * 48, (64, 36)),  # No room: height gives way.
        (Fraction(9, 1), 10_000, (64, 48)),  # Not to be believed.
    ],
)
def test_pixels_become_square(tmp_path, aspect, max_pixels, size):
    path = videos.write_video(tmp_path / "v.mp4", 4, aspect=aspect)
    config = dataclasses.replace(CONFIG, max_pixels=max_pixels)
    with read_frames(path, config, fps=240.0) as reader:
        images = [frame.image for frame in reader]
    assert (reader.info.width, reader.info.height) == size
    assert [im.shape for im in images] == [(size[1], size[0], 3)] * 4
    assert [videos.index_of(im) for im in images] == [0, 1, 2, 3]


# The matrix number (1 BT.709, 6 BT.601) and range (1 limited, 2 full).
@pytest.mark.parametrize("colours", [None, (1, 1), (1, 2), (6, 1), (6, 2)])
def test_declared_colours_are_honoured(tmp_path, colours):
    skin = np.full((48, 64, 3), (200, 150, 120), np.uint8)
    skin[:24] = (230, 40, 30)
    path = videos.write_video(
        tmp_path / "v.mkv",
        pictures=[skin],
        codec="ffv1",
        pix_fmt="yuv444p",
        colours=colours,
    )
    with read_frames(path, CONFIG) as reader:
        image = next(reader).image
    assert np.abs(image.astype(int) - skin).max() <= 3


def test_images_are_fresh_contiguous_arrays(tmp_path):
    path = videos.write_video(
        tmp_path / "v.mov", 3, codec="qtrle", pix_fmt="rgb24"
    )
    images = [f.image for f in read_frames(videos.turn(path), CONFIG)]
    for image in images:
        assert image.dtype == np.uint8
        assert image.flags.c_contiguous and image.flags.owndata
        image[:] = 0  # Writable.


# Frames at 8 fps by name, counted by hand from fps and duration; the s_*
# clips hold three frames, at 0, 1.0 and 1.1 s, the last two in one cell.
COUNTS = {
    "d_angry.mp4": (480, 480, 40),
    "a_disgust.mp4": (800, 600, 64),
    "s_amaze.mp4": (320, 320, 2),
    "carphone_pristine.mp4": (193, 144, 32),
    "facenetpt_video.mp4": (1920, 1080, 34),
    "mmaction2_demo.mp4": (427, 256, 80),
    "pyfeat_face_noface.mov": (960, 540, 51),
    "tree.avi": (320, 240, 68),
    "vtest.avi": (768, 576, 636),
}


@pytest.mark.real
def test_every_real_clip(test_data):
    paths = sorted(
        p for p in test_data.glob("clips/*/*.*") if p.suffix != ".csv"
    )
    assert len(paths) >= 34
    seen = {}
    for path in paths:
        with read_frames(path, CONFIG) as reader:
            cells = [frame.cell for frame in reader]
        info = reader.info
        seen[path.name] = (info.width, info.height, len(cells))
        assert reader.progress.damaged == 0, path
        assert cells == sorted(set(cells)), path
        assert 0 <= info.duration - reader.progress.last_time < 0.2, path
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            origin = stream.start_time * stream.time_base
            times = [
                f.pts * stream.time_base - origin
                for f in container.decode(stream)
            ]
        assert reader.progress.decoded == len(times), path
        assert cells == sorted({math.floor(t * 8) for t in times}), path
    assert {name: seen[name] for name in COUNTS} == COUNTS
