"""The reader on damaged files: frames or one clear line, never a hang."""

import re
import subprocess
import sys
import textwrap
from fractions import Fraction

import av
import numpy as np
import pytest
from testing import videos

from emorec.config import VideoConfig
from emorec.errors import VideoError
from emorec.video.reader import probe, read_frames

CONFIG = VideoConfig()


def write_large(path, **kwargs):
    """Writes a video whose frames weigh more than its index."""
    return videos.write_video(
        path, 60, size=(320, 240), options={"qp": "10"}, **kwargs
    )


@pytest.mark.parametrize(
    ("name", "movflags"),
    [
        ("v.mkv", ""),
        ("v.ts", ""),
        ("v.mp4", "faststart"),
        ("v.mp4", "frag_keyframe+empty_moov"),
    ],
)
def test_file_cut_short_gives_what_it_has(tmp_path, name, movflags):
    options = {"movflags": movflags} if movflags else {}
    path = write_large(tmp_path / name, container_options=options)
    videos.truncate(path, 0.6)
    with read_frames(path, CONFIG, fps=240.0) as reader:
        shown = [videos.index_of(frame.image) for frame in reader]
    assert 20 <= len(shown) <= 45
    # The tail may be patched up from what came before it.
    assert shown[:20] == list(range(20))
    assert reader.progress.last_time < 1.5


def test_mp4_cut_before_its_index(tmp_path):
    path = videos.truncate(write_large(tmp_path / "v.mp4"), 0.6)
    with pytest.raises(VideoError, match="cut short"):
        probe(path, CONFIG)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    ("name", "codec"),
    [("v.ts", "libx264"), ("v.mkv", "libx264"), ("v.avi", "mpeg4")],
)
def test_flipped_bytes_are_survived(tmp_path, name, codec, seed):
    path = videos.write_video(tmp_path / name, 60, codec=codec)
    videos.flip_bytes(path, 30, seed=seed)
    with read_frames(path, CONFIG) as reader:
        frames = list(reader)
    assert frames
    assert {f.image.shape for f in frames} == {(48, 64, 3)}
    cells = [f.cell for f in frames]
    assert cells == sorted(set(cells)) and cells[-1] < 100


def test_damage_is_counted(tmp_path):
    path = videos.flip_bytes(write_large(tmp_path / "v.ts"), 300)
    with read_frames(path, CONFIG) as reader:
        assert len(list(reader)) > 8
    assert reader.progress.damaged > 10


@pytest.mark.parametrize("seed", range(10))
def test_flipped_headers_end_in_frames_or_in_one_line(tmp_path, seed):
    for name in ("v.mp4", "v.mkv", "v.ts", "v.avi"):
        codec = "mpeg4" if name == "v.avi" else "libx264"
        path = videos.write_video(tmp_path / name, 10, codec=codec)
        videos.flip_bytes(path, 25, seed=seed, after=0.0)
        try:
            with read_frames(path, CONFIG) as reader:
                assert list(reader)
        except VideoError as error:
            assert "\n" not in str(error)


def test_packets_that_all_fail_are_given_up(tmp_path):
    path = videos.write_video(
        tmp_path / "v.avi", 150, codec="png", pix_fmt="rgb24"
    )
    data = path.read_bytes()
    head, rest = data.split(b"movi", 1)
    path.write_bytes(head + b"movi" + rest.replace(b"IHDR", b"IHDX"))
    with pytest.raises(VideoError, match="101 packets in a row cannot be"):
        probe(path, CONFIG)
    # The first 10 sound: they come out, then the error.
    parts = rest.split(b"IHDR")
    rest = b"IHDR".join(parts[:11]) + b"IHDX" + b"IHDX".join(parts[11:])
    path.write_bytes(head + b"movi" + rest)
    frames = []
    reader = read_frames(path, CONFIG, fps=240.0)
    with pytest.raises(VideoError, match="101 packets in a row"):
        frames.extend(reader)
    assert [videos.index_of(f.image) for f in frames] == list(range(10))
    assert reader.progress.damaged == 101


def test_metadata_that_is_not_utf8(tmp_path):
    path = tmp_path / "v.mkv"
    videos.write_video(path, 5)
    data = path.read_bytes()
    at = data.index(b"Lavf")
    path.write_bytes(data[:at] + b"\xff\xfe\xff\xfe" + data[at + 4 :])
    assert probe(path, CONFIG).width == 64


HANG = """
    import dataclasses, io, sys, threading
    from emorec.config import VideoConfig
    from emorec.errors import VideoError
    from emorec.video import container
    from emorec.video.reader import read_frames

    opened = container._open_plain

    class Stuck(io.RawIOBase):
        '''A disk that answers up to a byte, then never again.'''
        def __init__(self, file):
            self.file = file
        def readable(self):
            return True
        def seekable(self):
            return True
        def tell(self):
            return self.file.tell()
        def seek(self, offset, whence=0):
            return self.file.seek(offset, whence)
        def read(self, size=-1):
            if self.file.tell() >= int(sys.argv[2]):
                threading.Event().wait()
            return self.file.read(size)

    container._open_plain = lambda *a: Stuck(opened(*a))
    container._READ_BYTES = 4096
    config = dataclasses.replace(VideoConfig(), frame_timeout_s=2.0)
    count = 0
    try:
        for frame in read_frames(sys.argv[1], config):
            count += 1
    except VideoError as e:
        print(count > 0, e)
"""


@pytest.mark.parametrize(("after", "some"), [(0, False), (600_000, True)])
def test_hanging_decoder_is_left_behind(tmp_path, after, some):
    path = videos.write_video(
        tmp_path / "v.mp4",
        size=(320, 240),
        container_options={"movflags": "faststart"},
        options={"qp": "0"},
        pictures=[noise(i) for i in range(30)],
    )
    assert path.stat().st_size > 2_000_000
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(HANG), path, str(after)],
        capture_output=True,
        text=True,
        timeout=30,  # The process ends though its thread never does.
        check=True,
    )
    assert done.stdout.startswith(
        f"{some} {path}: no frame was decoded within 2 s; "
    )
    assert "video.frame_timeout_s" in done.stdout
    assert done.stderr == ""


def noise(seed):
    import numpy as np

    shape = (240, 320, 3)
    return np.random.default_rng(seed).integers(0, 255, shape, np.uint8)


def damage(path, **kwargs):
    with read_frames(path, CONFIG, **kwargs) as reader:
        assert list(reader)
        return reader.damage()


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.avi"])
def test_few_frames_a_minute_are_no_damage(tmp_path, name):
    codec = "mpeg4" if name == "v.avi" else "libx264"
    path = videos.write_video(
        tmp_path / name, 5, fps=Fraction(1, 3), codec=codec
    )
    assert damage(path) is None


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv"])
def test_a_picture_that_is_shown_long_is_no_damage(tmp_path, name):
    # One frame has no step to the next: its stated duration alone tells.
    path = videos.write_video(tmp_path / name, 1, fps=Fraction(1, 20))
    assert damage(path) is None


def write_with_sound(path, *, picture_s, sound_s, movflags=None):
    """Writes pictures at 10 fps, and silence that may go on after them."""
    options = {"movflags": movflags} if movflags else {}
    with av.open(str(path), "w", container_options=options) as out:
        stream = out.add_stream("libx264", rate=10, options={"qp": "10"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        sound = out.add_stream("aac", rate=8000, layout="mono")
        for i in range(picture_s * 10):
            frame = av.VideoFrame.from_ndarray(
                videos.picture(i, (320, 240)), "rgb24"
            )
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
        for i in range(sound_s * 8000 // 1024):
            frame = av.AudioFrame.from_ndarray(
                np.zeros((1, 1024), np.float32), "fltp", "mono"
            )
            frame.sample_rate, frame.pts = 8000, i * 1024
            out.mux(sound.encode(frame))
        out.mux(sound.encode())
    return path


@pytest.mark.parametrize("name", ["v.mkv", "v.mp4", "v.ts"])
def test_sound_that_goes_on_is_no_damage(tmp_path, name):
    path = write_with_sound(tmp_path / name, picture_s=5, sound_s=9)
    assert damage(path) is None


def test_a_recording_that_begins_late_is_no_damage(tmp_path):
    # Matroska states where it ends: here 11 s, of which there are 3.
    path = videos.write_video(
        tmp_path / "v.mkv", times=[8 + i / 10 for i in range(30)]
    )
    with av.open(str(path)) as video:
        assert video.duration > 10 * av.time_base
    assert damage(path) is None


def test_a_matroska_file_cut_short_is_found(tmp_path):
    path = videos.truncate(write_large(tmp_path / "v.mkv", fps=5), 0.6)
    assert re.fullmatch(
        rf"{path}: is damaged or cut short \(.*it ends at \d\.\d s of 12\.0 "
        r"s\); the rest was used: get the file again",
        damage(path),
    )


def test_an_mp4_with_sound_cut_short_is_found(tmp_path):
    path = write_with_sound(
        tmp_path / "v.mp4", picture_s=9, sound_s=9, movflags="faststart"
    )
    assert damage(path) is None
    assert "s of 9.0 s" in damage(videos.truncate(path, 0.6))


def test_a_leap_to_the_start_is_no_step_between_frames(tmp_path):
    path = videos.write_video(
        tmp_path / "v.mp4",
        80,
        fps=2,
        size=(320, 240),
        options={"qp": "10"},
        container_options={"movflags": "faststart"},
    )
    assert damage(path, start=20.0) is None
    assert "s of 40.0 s" in damage(videos.truncate(path, 0.7), start=20.0)
