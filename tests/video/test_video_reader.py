"""The reader on sound videos: which frames, when, and what it holds on to."""

import dataclasses
import math
import os
import threading
import time
import types
import weakref
from fractions import Fraction

import numpy as np
import pytest
from testing import videos

from emorec.config import VideoConfig
from emorec.errors import UsageError, VideoError
from emorec.video import decode
from emorec.video.channel import Channel
from emorec.video.reader import cell_of, probe, read_frames

CONFIG = VideoConfig()


def read(path, config=CONFIG, **kwargs):
    """Returns [(index shown, cell, time)] and the closed reader."""
    with read_frames(path, config, **kwargs) as reader:
        frames = list(reader)
    assert [f.index for f in frames] == list(range(len(frames)))
    found = [
        (videos.index_of(f.image), f.cell, round(f.time, 3)) for f in frames
    ]
    return found, reader


def test_cell_of_tolerates_rounded_timestamps():
    assert cell_of(0.0, 0.0, 8.0) == 0
    assert cell_of(0.124, 0.0, 8.0) == 0
    assert cell_of(0.125, 0.0, 8.0) == 1
    assert cell_of(1.0 - 1e-9, 0.0, 8.0) == 8  # A sum of floats before 1.
    assert cell_of(2.2, 2.0, 10.0) == 2
    assert cell_of(1.9, 2.0, 10.0) == -1


def test_first_frame_of_each_cell(tmp_path):
    path = videos.write_video(tmp_path / "v.mp4", 30, fps=30)
    found, reader = read(path)
    # Frame i lies at i/30 s, cell c starts at c/8 s: the first i >= 3.75 c.
    assert found == [
        (i, c, round(i / 30, 3))
        for c, i in enumerate([0, 4, 8, 12, 15, 19, 23, 27])
    ]
    assert (reader.progress.decoded, reader.progress.damaged) == (30, 0)
    assert reader.progress.last_time == pytest.approx(29 / 30)


def test_variable_frame_rate_never_repeats_a_frame(tmp_path):
    times = [0, 0.01, 0.02, 0.5, 0.51, 1.0, 1.02, 3.0, 3.2]
    path = videos.write_video(tmp_path / "v.mp4", times=times)
    found, _ = read(path)
    assert found == [
        (0, 0, 0.0),
        (3, 4, 0.5),
        (5, 8, 1.0),
        (7, 24, 3.0),
        (8, 25, 3.2),
    ]


def test_slow_video_gives_all_its_frames(tmp_path):
    path = videos.write_video(tmp_path / "v.mkv", 6, fps=2)
    found, _ = read(path)
    assert found == [(i, 4 * i, i / 2) for i in range(6)]


def test_adjacent_windows_share_out_all_frames(tmp_path):
    path = videos.write_video(tmp_path / "v.mp4", 30, fps=30)
    edges = [0.0, 0.1, 0.5, 0.7, None]
    shown = []
    for start, end in zip(edges, [*edges[1:], None], strict=True):
        if start is not None:
            found, _ = read(path, start=start, end=end, fps=240.0)
            assert all(
                cell == int((t - start) * 240 + 0.2) for _, cell, t in found
            )
            shown += [i for i, _, _ in found]
    assert shown == list(range(30))


def test_cells_count_from_start(tmp_path):
    path = videos.write_video(tmp_path / "v.mp4", 20, fps=10)
    found, _ = read(path, start=0.55, end=1.3, fps=5.0)
    # Cells from .55: [.55, .75) [.75, .95) [.95, 1.15) [1.15, 1.35).
    assert found == [(6, 0, 0.6), (8, 1, 0.8), (10, 2, 1.0), (12, 3, 1.2)]


def test_info(tmp_path):
    path = videos.write_video(tmp_path / "v.mp4", 30, fps=15)
    info = probe(str(path), CONFIG)
    assert info.path == str(path)
    assert (info.width, info.height, info.rotation) == (64, 48, 0)
    assert info.duration == pytest.approx(2.0)
    assert info.average_fps == pytest.approx(15.0)
    assert info.codec == "h264"
    assert "mp4" in info.container


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv"])
@pytest.mark.parametrize("margin", [2.0, -5.0])
def test_seeking_to_start_gives_the_same_frames(
    tmp_path, monkeypatch, name, margin
):
    path = videos.write_video(tmp_path / name, 200, fps=10, gop=20)

    def window():
        with read_frames(path, CONFIG, start=12.3, end=15.0) as reader:
            return list(reader), reader.progress.decoded

    monkeypatch.setattr(decode, "SEEK_FROM_S", math.inf)
    whole, decoded = window()
    monkeypatch.undo()
    # A margin below 0 lands past the start, as a wrong index would.
    monkeypatch.setattr(decode, "_MARGIN_S", margin)
    sought, fewer = window()
    assert [videos.index_of(f.image) for f in whole][:3] == [123, 125, 126]
    for a, b in zip(whole, sought, strict=True):
        assert (a.index, a.cell, a.time) == (b.index, b.cell, b.time)
        np.testing.assert_array_equal(a.image, b.image)
    assert decoded > 150
    assert fewer < 70 or margin < 0


def clock(start=None, rate=10, may_leap=False):
    stream = types.SimpleNamespace(
        time_base=Fraction(1, 1000), start_time=start, average_rate=rate
    )
    return decode.Clock(stream, may_leap)


@pytest.mark.parametrize(
    ("made", "timestamps", "expected"),
    [
        (clock(), [500, 600, 700], [0, 0.1, 0.2]),
        (clock(start=400), [500, 600], [0.1, 0.2]),
        (clock(start=700), [500, 600], [0, 0.1]),
        (clock(), [None, None, None], [0, 0.1, 0.2]),
        (clock(), [0, None, 250], [0, 0.1, 0.25]),
        (clock(), [0, 100, 50, 200], [0, 0.1, 0.1, 0.2]),
        (clock(), [0, 5000, 0, 100], [0, 5, 5.1, 5.2]),
        (clock(), [0, 60_000], [0, 60]),
        (clock(may_leap=True), [0, 60_000, 60_100], [0, 0.1, 0.2]),
        (clock(may_leap=True), [0, 9_000], [0, 9]),
        (clock(rate=None), [None, None], [0, 0.04]),
    ],
)
def test_clock(made, timestamps, expected):
    assert [made(t) for t in timestamps] == pytest.approx(expected)


def test_spliced_streams_go_on_in_time_and_keep_the_first_size(tmp_path):
    first = videos.write_video(tmp_path / "a.ts", 30)
    second = videos.write_video(tmp_path / "b.ts", 30, size=(96, 96))
    path = tmp_path / "both.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    with read_frames(path, CONFIG) as reader:
        frames = list(reader)
    assert {f.image.shape for f in frames} == {(48, 64, 3)}
    assert [f.cell for f in frames] == list(range(16))
    assert (
        [videos.index_of(f.image) for f in frames[:8]]
        == [videos.index_of(f.image) for f in frames[8:]]
        == [0, 4, 8, 12, 15, 19, 23, 27]
    )


def open_files(path):
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
        except FileNotFoundError:
            continue
    return found.count(str(path))


def readers():
    return [t for t in threading.enumerate() if t.name == "emorec-video"]


def test_buffer_bounds_what_is_decoded_ahead(tmp_path):
    path = videos.write_video(tmp_path / "v.mp4", 600, gop=60)
    config = dataclasses.replace(CONFIG, buffer_frames=4)
    with read_frames(path, config, fps=240.0) as reader:
        deadline = time.monotonic() + 10
        while reader.progress.decoded < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.3)  # Unbounded, hundreds are decoded by now.
        assert reader.progress.decoded == 5  # 4 wait, 1 is being handed over.
        images = [weakref.ref(frame.image) for frame in reader]
    assert len(images) == 600
    assert sum(ref() is not None for ref in images) == 0


@pytest.mark.parametrize("how", ["close", "with", "drop", "end"])
def test_everything_is_closed(tmp_path, how):
    path = videos.write_video(tmp_path / "v.mp4", 60)
    reader = read_frames(path, CONFIG, fps=240.0)
    next(reader)
    assert open_files(path) == 1 and len(readers()) == 1
    if how == "close":
        reader.close()
        reader.close()
        assert next(reader, None) is None
    elif how == "with":
        with reader:
            pass
    elif how == "end":
        assert len(list(reader)) == 59
    del reader
    for thread in readers():  # A dropped one is not waited for.
        thread.join(5)
    assert open_files(path) == 0 and not readers()


def test_slow_consumer_is_not_a_hang(tmp_path):
    path = videos.write_video(tmp_path / "v.mp4", 30)
    config = dataclasses.replace(CONFIG, buffer_frames=1, frame_timeout_s=0.5)
    with read_frames(path, config) as reader:
        for count, _ in enumerate(reader, 1):
            time.sleep(0.8 if count < 4 else 0)
    assert count == 8


def test_only_waiting_counts_as_a_hang():
    channel = Channel(1)
    channel._beat -= 100  # The process slept; nobody waited.
    threading.Timer(0.1, channel.put, ["frame"]).start()
    assert channel.take("frame", 5.0) == "frame"
    with pytest.raises(TimeoutError):
        channel.take("frame", 0.05)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"fps": 0}, r"`fps` must be over 0\. Received: 0"),
        ({"fps": math.nan}, "`fps` must be over 0"),
        ({"start": -1.0}, "`start` must be 0 or more"),
        ({"start": 2.0, "end": 2.0}, "`end` must be after `start`"),
    ],
)
def test_windows_that_make_no_sense(tmp_path, kwargs, message):
    with pytest.raises(UsageError, match=message):
        read_frames(tmp_path / "never_opened.mp4", CONFIG, **kwargs)


def test_start_after_the_end_is_said(tmp_path):
    path = videos.write_video(tmp_path / "v.mp4", 30)
    for start in (1.5, 60.0):
        reader = read_frames(path, CONFIG, start=start)
        with pytest.raises(VideoError, match=r"last frame is at 0\.967 s"):
            list(reader)


@pytest.mark.real
def test_seeking_in_a_real_clip(test_data, monkeypatch):
    path = test_data / "clips/unlabelled/pyfeat_WolfgangLanger_Pexels.mp4"
    sought = list(read_frames(path, CONFIG, start=15.0, end=17.0))
    monkeypatch.setattr(decode, "SEEK_FROM_S", math.inf)
    whole = list(read_frames(path, CONFIG, start=15.0, end=17.0))
    assert len(whole) == 16
    for a, b in zip(whole, sought, strict=True):
        assert (a.cell, a.time) == (b.cell, b.time)
        np.testing.assert_array_equal(a.image, b.image)
