"""Records over HTTP, through tensorflow-io, and only then."""

import functools
import http.server
import subprocess
import sys
import threading

import pytest

from emorec.data import records

_CHILD = """
import sys
from emorec.data import keys, records
assert "tensorflow_io" not in sys.modules
for example in records.read(sys.argv[1]):
    print(records.one(example, keys.CLIP_ID))
print("tensorflow_io" in sys.modules)
"""


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files, and parts of files as RFC 9110 describes them."""

    def do_GET(self):
        span = self.headers.get("Range")
        if not span:
            return super().do_GET()
        with open(self.translate_path(self.path), "rb") as f:
            data = f.read()
        first, _, last = span.removeprefix("bytes=").partition("-")
        part = data[int(first) : int(last or len(data)) + 1]
        self.send_response(206)
        self.send_header("Content-Length", str(len(part)))
        self.send_header(
            "Content-Range",
            f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}",
        )
        self.end_headers()
        self.wfile.write(part)

    def log_message(self, *_):
        pass


@pytest.fixture
def address(prepared):
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0),
        functools.partial(_Handler, directory=prepared.path),
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_records_are_read_over_http(prepared, address):
    path = prepared.files("validation")[0]
    name = path.rsplit("/", 1)[1]
    # In a process of its own: tensorflow-io stays loaded, and may abort one
    # at its end.
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, f"{address}/{name}"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    *found, loaded = done.stdout.split()
    assert found == [
        records.one(example, "clip/id") for example in records.read(path)
    ], done.stderr
    assert len(found) == 8
    assert loaded == "True"
