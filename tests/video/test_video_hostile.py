"""The reader on hostile files: one clear line, and nothing else is opened."""

import dataclasses
import os
import re
import socket
import threading

import av
import pytest
from testing import videos

from emorec.config import VideoConfig
from emorec.errors import VideoError
from emorec.video import container as container_module
from emorec.video.reader import probe, read_frames

CONFIG = VideoConfig()


def refused(path, message, config=CONFIG):
    """Asserts that both entries raise one `PATH: message` line."""
    for attempt in (probe, lambda *a: list(read_frames(*a))):
        with pytest.raises(VideoError) as caught:
            attempt(path, config)
        line = str(caught.value)
        assert re.search(message, line), line
        assert line.startswith(f"{path}: ") and "\n" not in line


def with_limit(**kwargs):
    return dataclasses.replace(CONFIG, **kwargs)


@pytest.mark.parametrize(
    "name",
    [
        "absent.mp4",
        "concat:a.mp4|b.mp4",
        "http://127.0.0.1:9/v.mp4",
        "file:v.mp4",
        "pipe:0",
        "",
    ],
)
def test_no_such_file(name):
    refused(name, "no such file; check the path")


def test_path_that_no_file_can_have():
    with pytest.raises(VideoError, match=r"'a\\x00\.mp4': cannot be opened"):
        probe("a\0.mp4", CONFIG)


def test_folder_empty_file_and_other_bytes(tmp_path):
    refused(tmp_path, "is a folder; name the video files in it")
    empty = tmp_path / "empty.mp4"
    empty.touch()
    refused(empty, "is empty")
    noise = tmp_path / "noise.mp4"
    noise.write_bytes(bytes(range(256)) * 40)
    refused(noise, "cannot be read as a video")
    text = tmp_path / "text.mp4"
    text.write_text("not a video\n" * 100)
    refused(text, "cannot be read as a video")


def test_pipe_and_device_do_not_block(tmp_path):
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    refused(pipe, "is not a plain file")
    refused("/dev/zero", "is not a plain file")


def test_pipe_put_in_place_after_the_check(tmp_path, monkeypatch):
    path = videos.write_video(tmp_path / "v.mp4", 3)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    real_stat = os.stat(path)
    monkeypatch.setattr(container_module.os, "stat", lambda p: real_stat)
    refused(pipe, "is not a plain file")


def test_unreadable_file(tmp_path):
    path = videos.write_video(tmp_path / "v.mp4", 3)
    path.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # Root reads everything.
    try:
        refused(path, "may not be read; check its permissions")
    finally:
        os.seteuid(user)


def test_file_over_the_limit(tmp_path):
    path = videos.write_video(tmp_path / "v.mp4", 3)
    size = path.stat().st_size
    refused(
        path,
        f"{size} bytes are over {size - 1}; .*video.max_file_bytes",
        with_limit(max_file_bytes=size - 1),
    )
    probe(path, with_limit(max_file_bytes=size))


def test_picture_over_the_limit(tmp_path):
    path = videos.write_video(tmp_path / "v.mp4", 3)
    refused(
        path,
        r"64 x 48 are over 3071 pixels; .*video\.max_pixels",
        with_limit(max_pixels=3071),
    )
    probe(path, with_limit(max_pixels=3072))


def test_huge_header_is_refused_before_decoding(tmp_path):
    path = videos.write_huge_header(tmp_path / "v.avi", 16_000)
    refused(path, "16000 x 16000 are over")
    path = videos.write_huge_header(tmp_path / "v.avi", 2**31 - 1)
    refused(path, "no frame of it can be decoded")


def test_picture_that_grows_over_the_limit(tmp_path):
    small = videos.write_video(tmp_path / "a.ts", 30)
    large = videos.write_video(tmp_path / "b.ts", 30, size=(640, 480))
    path = tmp_path / "both.ts"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    config = with_limit(max_pixels=10_000)
    reader = read_frames(path, config)
    shown = []
    with pytest.raises(VideoError, match="640 x 480 are over 10000 pixels"):
        for frame in reader:
            shown.append(videos.index_of(frame.image))
    assert shown == [0, 4, 8, 12, 15, 19, 23, 27]
    assert next(reader, None) is None


def test_sound_without_pictures(tmp_path):
    refused(videos.write_audio(tmp_path / "a.m4a"), "has no video stream")
    cover = videos.write_audio(tmp_path / "c.mp4", cover=True)
    with av.open(str(cover)) as container:
        assert len(container.streams.video) == 1  # The cover is one.
    refused(cover, "has no video stream")


class Listener:
    """Counts connections to a loopback port."""

    def __init__(self):
        self.connections = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            connection.close()

    def close(self):
        self._socket.close()


@pytest.fixture
def listener():
    made = Listener()
    yield made
    made.close()


HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.0,\n{}\n#EXT-X-ENDLIST\n"


CONCAT = "ffconcat version 1.0\nfile {}\n"


@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4", "list.ts"])
@pytest.mark.parametrize("text", [HLS, CONCAT])
def test_playlist_that_names_a_file(tmp_path, name, text):
    videos.write_video(tmp_path / "target.ts", 30)
    path = tmp_path / name
    path.write_text(text.format("target.ts"))
    if text == CONCAT or name == "list.m3u8":
        with av.open(str(path)) as plain:  # libav itself would follow it.
            assert next(plain.decode(video=0)).width == 64
    refused(path, "cannot be read as a video .* playlist")


@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4"])
def test_playlist_that_names_an_address(tmp_path, listener, name):
    path = tmp_path / name
    address = f"http://127.0.0.1:{listener.port}/v.ts"
    for text in (HLS, CONCAT):
        path.write_text(text.format(address))
        refused(path, "cannot be read as a video .* playlist")
    assert listener.connections == 0
    if name == "list.m3u8":
        path.write_text(HLS.format(address))
        unbound = {"protocol_whitelist": "file,http,tcp"}
        with (
            pytest.raises(av.FFmpegError),
            av.open(str(path), container_options=unbound),
        ):
            pass
        assert listener.connections > 0  # libav itself would connect.


def test_image_sequence_is_not_followed(tmp_path):
    for i in range(3):
        videos.write_video(
            tmp_path / f"{i}.png",
            1,
            codec="png",
            pix_fmt="rgb24",
            container_options={"update": "1"},
        )
    refused(tmp_path / "%d.png", "no such file")
    (tmp_path / "%d.png").write_bytes((tmp_path / "0.png").read_bytes())
    refused(tmp_path / "%d.png", "cannot be read as a video .* picture")
