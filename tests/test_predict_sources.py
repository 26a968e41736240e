"""Folders, patterns and addresses to videos; what a server may answer."""

import base64
import http.server
import threading
import typing

import pytest
from testing.toy_prediction import ToyBackend, ToyDetector
from testing.videos import write_video

from emorec import predict, predict_sources
from emorec.errors import UsageError
from emorec.predict_sources import Sources, expand


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("videos")
    (made / "deep" / "er").mkdir(parents=True)
    for name in ("b.mp4", "a.MKV", "deep/er/c.mp4", "notes.txt", "x[1].mp4"):
        (made / name).touch()
    return made


def named(folder, *names):
    return [f"{folder}/{name}" for name in names]


def test_files_folders_and_patterns(folder):
    all_videos = named(folder, "a.MKV", "b.mp4", "deep/er/c.mp4", "x[1].mp4")
    assert expand([str(folder)]) == all_videos
    assert expand([f"{folder}/*.mp4"]) == named(folder, "b.mp4", "x[1].mp4")
    assert expand([f"{folder}/**/*.mp4"]) == named(
        folder, "b.mp4", "deep/er/c.mp4", "x[1].mp4"
    )
    assert expand([f"{folder}/d*"]) == named(folder, "deep/er/c.mp4")
    # A name that is there is no pattern; one that matches nothing is told.
    for given in (["x[1].mp4"], ["none*.mp4"], ["b.mp4", "b.mp4"]):
        assert expand(named(folder, *given)) == named(folder, *given)
    live = ["0", "rtsp://host/*", "http://host/*.mp4"]
    assert expand(live) == live


def test_too_many_videos(folder, monkeypatch):
    monkeypatch.setattr(predict_sources.video_folder, "MAX_VIDEOS", 3)
    with pytest.raises(UsageError, match="more than 3 videos; name fewer"):
        expand([str(folder)])


class Server(http.server.BaseHTTPRequestHandler):
    """Answers by path; remembers what it was told."""

    video = b""
    seen: typing.ClassVar[list] = []

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.seen.append((self.path, self.headers.get("Authorization")))
        getattr(self, self.path.strip("/").partition(".")[0])()

    def answer(self, code, data=b"", **headers):
        self.send_response(code)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def clip(self):
        self.answer(200, self.video, Content_Length=str(len(self.video)))

    def unstated(self):
        self.answer(200, self.video)

    def moved(self):
        self.answer(302, Location="/clip.mp4")

    def away(self):
        self.answer(302, Location="file:///etc/passwd")

    def ftp(self):
        self.answer(302, Location="ftp://127.0.0.1/clip.mp4")

    def cut(self):
        self.answer(200, self.video[:99], Content_Length="4321")

    def huge(self):
        self.answer(200, Content_Length=str(1 << 60))

    def endless(self):
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(bytes(1 << 16))
        except OSError:
            self.close_connection = True

    def absent(self):
        self.send_error(404)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    path = write_video(tmp_path_factory.mktemp("served") / "a.mp4", 3, fps=8)
    Server.video = path.read_bytes()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def predicted(*videos, **how):
    return list(
        predict.predict_videos(videos, ToyBackend(), ToyDetector(), **how)
    )


def test_a_remote_video_is_as_a_local_one(
    address, tmp_path, monkeypatch, request
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    local = tmp_path / "local.mp4"
    local.write_bytes(Server.video)
    first, *others = predicted(
        str(local),
        *(f"{address}/{name}" for name in ("clip.mp4", "unstated", "moved")),
    )
    assert first.frames_with_face == 3
    for name, result in zip(("clip.mp4", "unstated", "moved"), others):
        assert result.to_dict() == {
            **first.to_dict(),
            "video": f"{address}/{name}",
        }
    assert list(tmp_path.iterdir()) == [local], "a copy was left"


def test_a_password_is_used_and_not_shown(address):
    url = address.replace("http://", "http://me:se%20cret@")
    (result,) = predicted(f"{url}/moved")
    assert result.video == f"{address}/moved"
    coded = base64.b64encode(b"me:se cret").decode()
    # Not passed on to where the first answer leads.
    assert Server.seen[-2:] == [
        ("/moved", f"Basic {coded}"),
        ("/clip.mp4", None),
    ]


@pytest.mark.parametrize(
    "name, said",
    [
        ("absent", "the server answered 404 Not Found; check the address"),
        ("away", "Redirection to url 'file:///etc/passwd' is not allowed"),
        ("ftp", "unknown url type: ftp"),
        ("cut", "broke off after 99 of 4321 bytes; try again"),
        ("huge", "over 100000 bytes; copy it yourself and name the file, or"),
        ("endless", "over 100000 bytes; copy it yourself and name the file"),
    ],
)
def test_a_bad_answer_is_one_line(address, name, said, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (result,) = predicted(f"{address}/{name}", sources=Sources(100_000))
    assert result.error.startswith(f"{address}/{name}: ")
    assert said in result.error and "\n" not in result.error
    assert not list(tmp_path.iterdir())


def test_no_room_is_told_before_the_copying(address):
    (result,) = predicted(f"{address}/huge", sources=Sources(1 << 62))
    assert f"its {1 << 60} bytes are more than" in result.error
    assert result.error.endswith("free some space or set $TMPDIR")


def test_a_server_that_is_not_there():
    urls = ["http://127.0.0.1:9/a.mp4", "http://[::1", "http://bad host/"]
    for url, result in zip(urls, predicted(*urls), strict=True):
        assert result.error.startswith(f"{url}: cannot be fetched (")


def test_a_pattern_of_remote_names():
    match = predict_sources._matches
    assert match(["a", "b.mp4"], ["*", "*.mp4"])
    assert match(["a", "b", "c.mp4"], ["**", "*.mp4"])
    assert match(["c.mp4"], ["**", "*.mp4"])
    assert not match(["a", "b.mp4"], ["*.mp4"])
    assert not match(["a", "b.avi"], ["**", "*.mp4"])
    with pytest.raises(UsageError, match="a pattern must name its bucket"):
        expand(["s3://*/a.mp4"])
