"""The REST API over HTTP/1.1; what it answers is in `rest_api`."""

import http
import http.server
import logging
import re
import socket
import threading
import zlib
from collections.abc import Callable

import grpc

from serving.server import json_response, rest_api, status
from serving.server.in_flight import InFlight
from serving.server.metrics import CONTENT_TYPE, Metrics
from serving.server.models import Models

_log = logging.getLogger(__name__)

_NOT_FOUND = (
    "<html><head><title>404 Not Found</title></head>"
    "<body><h1>404 Not Found</h1></body></html>\n"
)
# A connection that says nothing for so long is closed.
_IDLE_S = 60.0


class RestServer(http.server.ThreadingHTTPServer):
    """Answers REST requests, one thread for each connection.

    Attributes:
        models: What is served.
        max_bytes: Largest body, in bytes.
        in_flight: What counts the requests.
        metrics: Where predictions are counted.
        metrics_path: The path that tells the metrics, or None.
    """

    daemon_threads = True
    # Two servers must not share a port unnoticed; a port in TIME_WAIT is free.
    allow_reuse_address = True
    allow_reuse_port = False
    request_queue_size = 128

    def __init__(
        self,
        host: str,
        port: int,
        models: Models,
        in_flight: InFlight,
        max_bytes: int,
        max_concurrent: int,
        metrics: Metrics | None = None,
        metrics_path: str | None = None,
    ):
        """Opens the port.

        Args:
            host: The address to listen on.
            port: The port; 0 takes a free one.
            models: What is served.
            in_flight: What counts the requests.
            max_bytes: Largest body, in bytes, packed or unpacked.
            max_concurrent: Predictions at one time; more are told 429. Four
                times as many connections may be open.
            metrics: Where predictions are counted; None counts them nowhere.
            metrics_path: The path that tells the metrics; None tells them
                nowhere.

        Raises:
            OSError: The port cannot be opened.
        """
        if ":" in host:
            self.address_family = socket.AF_INET6
        self.models = models
        self.in_flight = in_flight
        self.max_bytes = max_bytes
        self.metrics = metrics or Metrics()
        self.metrics_path = metrics_path
        self._slots = threading.BoundedSemaphore(max_concurrent)
        self._connections = threading.BoundedSemaphore(4 * max_concurrent)
        super().__init__((host, port), _Handler)
        self._thread = threading.Thread(
            target=self.serve_forever, name="rest", daemon=True
        )

    @property
    def port(self) -> int:
        """The port that is open."""
        return self.server_address[1]

    def start(self) -> None:
        """Answers requests in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Closes the port; what is under way goes on."""
        if self._thread.is_alive():
            self.shutdown()
        self.server_close()

    def server_close(self) -> None:
        """Closes the port, without waiting for the connections' threads."""
        self.socket.close()

    def process_request(self, request, client_address) -> None:
        """Gives a connection a thread, or closes it where there are many."""
        if not self._connections.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request, client_address) -> None:
        """Runs in the connection's thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.release()

    def handle_error(self, request, client_address) -> None:
        """Logs the fault of one connection; the server goes on."""
        _log.info("REST client %s failed", client_address, exc_info=True)

    def limited(self, method: Callable[[], str]) -> str:
        """Runs `method` in one of the slots for predictions.

        Raises:
            StatusError: RESOURCE_EXHAUSTED, all slots are taken.
        """
        if not self._slots.acquire(blocking=False):
            raise status.StatusError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "Concurrent request limit exceeded!",
            )
        try:
            return method()
        finally:
            self._slots.release()


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    server: RestServer
    protocol_version = "HTTP/1.1"
    server_version = "emorec"
    sys_version = ""
    timeout = _IDLE_S
    # Head and body leave together, at once.
    wbufsize = 1 << 16
    disable_nagle_algorithm = True

    def do_GET(self):
        path = self.path.partition("?")[0]
        try:
            body = self._body()
            if self.command == "OPTIONS":
                code = 200 if "Origin" in self.headers else 400
                self._send(code, "", "text/html")
            elif path == self.server.metrics_path:
                text = self.server.metrics.text().decode()
                self._send(200, text, CONTENT_TYPE)
            elif not path.startswith("/v1/"):
                self._send(404, _NOT_FOUND, "text/html")
            else:
                with self.server.in_flight.request():
                    self._send(200, self._answer(path, body))
                    self.wfile.flush()
        except _BodyError as e:
            self.close_connection = True  # The body's rest is still to come.
            self._send(e.http_status, json_response.error(str(e)))
        except OSError:
            raise  # The connection is gone.
        except Exception as e:
            error = status.from_exception(e)
            if error.code == grpc.StatusCode.INTERNAL:
                _log.exception("%s failed", self.requestline)
            text = json_response.error(error.message)
            self._send(error.http_status, text)

    do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = do_GET

    def log_message(self, format, *args):
        _log.debug("%s " + format, self.address_string(), *args)

    def _answer(self, path: str, body: bytes) -> str:
        server = self.server

        def run() -> str:
            return rest_api.answer(
                server.models, self.command, path, body, server.max_bytes
            )

        target = rest_api.prediction(self.command, path)
        if target is None:
            return run()
        with server.metrics.request(server.models, *target, "REST"):
            return server.limited(run)

    def _send(
        self, code: int, text: str, content_type: str = "application/json"
    ) -> None:
        data = text.encode(errors="replace")
        reason = "Client Closed Request" if code == 499 else None
        self.send_response(code, reason)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _body(self) -> bytes:
        """Reads the request's body.

        Raises:
            _BodyError: Its framing is wrong, or it is larger than allowed.
        """
        limit = self.server.max_bytes
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            data = self._chunks(limit)
        else:
            length = self.headers.get("Content-Length", "0")
            if not (length.isascii() and length.isdigit()):
                raise _BodyError(400, f"bad Content-Length: {length}")
            if int(length) > limit:
                raise _too_large(limit)
            data = self.rfile.read(int(length))
            if len(data) != int(length):
                raise _BodyError(400, "the body is cut short")
        if self.headers.get("Content-Encoding", "").lower() == "gzip":
            data = _gunzip(data, limit)
        return data

    def _chunks(self, limit: int) -> bytes:
        parts, total = [], 0
        while True:
            line = self.rfile.readline(1024).partition(b";")[0].strip()
            if not re.fullmatch(rb"[0-9A-Fa-f]{1,16}", line):
                raise _BodyError(400, "a chunk's size is wrong")
            size = int(line, 16)
            total += size
            if total > limit:
                raise _too_large(limit)
            if not size:
                break
            parts.append(self.rfile.read(size))
            if len(parts[-1]) != size or self.rfile.readline(3) != b"\r\n":
                raise _BodyError(400, "a chunk is cut short")
        while self.rfile.readline(65536) not in (b"\r\n", b"\n", b""):
            pass  # Trailers.
        return b"".join(parts)


class _BodyError(Exception):
    """A body that cannot be read; the connection is of no more use."""

    def __init__(self, http_status: int, message: str):
        super().__init__(message)
        self.http_status = http_status


def _too_large(limit: int) -> _BodyError:
    return _BodyError(413, f"the request is larger than {limit} bytes")


def _gunzip(data: bytes, limit: int) -> bytes:
    decoder = zlib.decompressobj(wbits=31)
    try:
        data = decoder.decompress(data, limit)
    except zlib.error as e:
        raise _BodyError(400, f"the gzip body is damaged: {e}") from e
    if decoder.unconsumed_tail:
        raise _too_large(limit)
    if not decoder.eof:
        raise _BodyError(400, "the gzip body is cut short")
    return data
