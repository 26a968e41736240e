"""Cameras and streams: real senders on the loopback, and what is refused."""

import http.server
import socket
import threading
import time

import av
import pytest
from testing.videos import index_of, picture

from emorec.config import Config
from emorec.errors import UsageError, VideoError
from emorec.video import addresses, live
from emorec.video.channel import Channel

CONFIG = Config().video


def send(target, count, fps=50, stop=None):
    """Sends the pictures of `testing.videos` as MPEG-TS, as fast as shown."""
    with av.open(target, "w", format="mpegts") as out:
        stream = out.add_stream(
            "libx264",
            rate=fps,
            options={"preset": "ultrafast", "tune": "zerolatency"},
        )
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.gop_size = 5
        began = time.monotonic()
        for i in range(count):
            if stop is not None and stop.is_set():
                break
            frame = av.VideoFrame.from_ndarray(picture(i), format="rgb24")
            frame.pts = i
            out.mux(stream.encode(frame))
            time.sleep(max(0, began + i / fps - time.monotonic()))
        out.mux(stream.encode())


class Sender(http.server.BaseHTTPRequestHandler):
    """Answers with a stream; `/forever` has no end."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        count = 5000 if self.path == "/forever" else 60
        try:
            send(self, count)
        except OSError:
            self.close_connection = True  # The reader went away.

    def write(self, data):
        self.wfile.write(data)
        return len(data)


@pytest.fixture(scope="module")
def address():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sender)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"live:http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def read(source, **how):
    how = {"name": source, "fps": 25, **how}
    return live.read_live(source, CONFIG, **how)


def test_a_stream_is_sampled_to_its_end(address):
    with read(f"{address}/short") as reader:
        assert (reader.info.width, reader.info.height) == (64, 48)
        assert reader.info.duration is None
        assert reader.info.codec == "h264"
        frames = list(reader)
        assert reader.damage() is None
    shown = [index_of(f.image) for f in frames]
    # Every other picture of 50 a second; a decoder may keep the last ones.
    assert shown[-1] >= 50 and len(shown) >= 25
    assert [f.index for f in frames] == list(range(len(frames)))
    for frame in frames:
        assert index_of(frame.image) == pytest.approx(50 * frame.time, abs=1.01)


def test_stop_ends_a_stream_without_an_end(address):
    stop = threading.Event()
    with read(f"{address}/forever", stop=stop) as reader:
        assert next(reader).time == 0
        stop.set()
        assert len(list(reader)) < 250
    assert reader.damage() is None


def test_a_stream_over_udp_is_read_for_its_duration():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        url = f"udp://127.0.0.1:{free.getsockname()[1]}"
    stop = threading.Event()
    sender = threading.Thread(
        target=send, args=(f"{url}?pkt_size=1316", 5000, 50, stop)
    )
    sender.start()
    try:
        with read(url, fps=10, duration=0.5) as reader:
            cells = [f.cell for f in reader]
    finally:
        stop.set()
        sender.join()
    # On a busy machine some packets are lost, and never the time.
    assert cells[0] == 0 and len(cells) >= 2
    # Half a second, and the cell in which it ended.
    assert set(cells) <= {0, 1, 2, 3, 4, 5}


def test_nobody_there_is_one_line():
    for source, said in (
        ("rtsp://user:word@127.0.0.1:9/x", "rtsp://127.0.0.1:9/x: cannot be"),
        ("97", "97: cannot be opened (No such file or directory); check"),
    ):
        with pytest.raises(VideoError) as caught:
            read(source, name=addresses.without_secrets(source))
        assert str(caught.value).startswith(said)
        assert "word" not in str(caught.value)


def test_silence_is_told():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        url = f"udp://127.0.0.1:{free.getsockname()[1]}"
    config = Config().override(["video.frame_timeout_s=0.3"]).video
    with pytest.raises(VideoError) as caught:
        live.read_live(url, config, name=url, fps=8)
    assert str(caught.value).startswith(f"{url}: ")


def test_a_playlist_opens_no_local_file(tmp_path):
    """What a sender names is fetched by the stream's own protocols alone."""
    secret = tmp_path / "secret.ts"
    send(str(secret), 5, fps=500)
    text = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n"

    class Playlist(Sender):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "application/vnd.apple.mpegurl")
            self.end_headers()
            self.wfile.write(f"{text}#EXT-X-ENDLIST\n".encode())

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Playlist) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"live:http://127.0.0.1:{server.server_port}/x.m3u8"
        with pytest.raises(VideoError):
            list(read(url))
        server.shutdown()


def test_what_is_live_is_written_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for source in ("0", "12", "rtsp://a/b", "udp://:1", "live:http://a/b"):
        assert addresses.is_live(source), source
    for source in ("clip.mp4", "http://a/0", "https://a/b.m3u8", "./0", "100"):
        assert not addresses.is_live(source), source
    (tmp_path / "0").touch()
    assert not addresses.is_live("0"), "a file of that name comes first"
    with pytest.raises(UsageError, match="a camera's number, or an address of"):
        read("live:file:///etc/passwd")


def test_a_full_channel_drops_the_oldest():
    channel = Channel(3)
    for i in range(5):
        channel.offer(i)
    channel.finish()
    assert [channel.take("frame", 1) for _ in range(3)] == [2, 3, 4]
    assert channel.dropped == 2


@pytest.mark.parametrize(
    "source, name",
    [
        ("rtsp://u:p@host:1/a?b", "rtsp://host:1/a?b"),
        ("live:https://u:p@q@host/a", "live:https://host/a"),
        ("https://host/a@b", "https://host/a@b"),
        ("a@b.mp4", "a@b.mp4"),
    ],
)
def test_no_name_holds_a_password(source, name):
    assert addresses.without_secrets(source) == name
