"""The embedded model server: gRPC and REST over the models of folders.

Speaks TensorFlow Serving's protocol, so its clients need no change, and needs
no binary beside Python and TensorFlow.
"""

import errno
import logging
import os
import socket
import threading

import grpc
from google.protobuf.message import Message

from emorec.errors import ServerError, UsageError
from serving.server import grpc_service, options
from serving.server.health import MAX_WATCHES, Health
from serving.server.in_flight import InFlight, RequestPool
from serving.server.loading import Loader
from serving.server.metrics import Metrics
from serving.server.model_config import ModelServerConfig
from serving.server.models import Models
from serving.server.rest import RestServer
from serving.server.status import StatusError

_log = logging.getLogger(__name__)


class ModelServer:
    """Serves the versions of one or several models.

    Also a context manager: starts on entry, stops on exit.

    Attributes:
        host: The address that is listened on.
        port: The gRPC port; once started, the one that is open.
        rest_port: The REST port, or None; once started, the one that is open.
    """

    def __init__(
        self,
        base_path: str | os.PathLike | None = None,
        model_name: str = "default",
        port: int = 8500,
        rest_port: int | None = None,
        host: str = "127.0.0.1",
        *,
        models: ModelServerConfig | None = None,
        batching: Message | None = None,
        monitoring: Message | None = None,
        ssl: Message | None = None,
        health: bool = False,
        allow_labels_for_unavailable: bool = False,
        poll_s: float = 1.0,
        start_timeout_s: float | None = None,
        workers: int = 16,
        max_concurrent: int = 64,
        max_message_bytes: int = 256 << 20,
    ):
        """Does nothing yet; see `start`.

        Args:
            base_path: Folder whose subfolders 1, 2, ... are SavedModels.
            model_name: The name that clients ask for.
            port: gRPC port; 0 takes a free one.
            rest_port: REST port; 0 takes a free one, None leaves REST off.
            host: Address to listen on. The default is reached from this
                machine alone: without `ssl` there is neither encryption nor
                a password.
            models: Several models, their version policies and labels; takes
                the place of `base_path` and `model_name`.
            batching: BatchingParameters (`serving.configs.schemas`); None
                runs each request alone.
            monitoring: MonitoringConfig; where it is enabled, REST tells the
                metrics.
            ssl: SSLConfig of the gRPC port. REST has no TLS, as the real
                server's has none.
            health: Whether the gRPC health service is offered.
            allow_labels_for_unavailable: Whether labels may go to versions
                that are not available; without it, `models` has no labels.
            poll_s: Seconds between two looks for a new version; 0 looks once,
                less than 0 never.
            start_timeout_s: Longest wait in seconds for a first version; None
                waits for ever.
            workers: Threads for gRPC requests; with `batching` at least
                `max_concurrent`, as each request waits in its thread.
            max_concurrent: gRPC requests that run or wait, and apart from
                them REST requests; more are told RESOURCE_EXHAUSTED (429).
            max_message_bytes: Largest request and largest input tensor.

        Raises:
            UsageError: An argument is out of range, or a config is not valid.
        """
        options.check_numbers(
            port=(port, 0, 65535),
            rest_port=(rest_port or 0, 0, 65535),
            workers=(workers, 1, 1024),
            max_concurrent=(max_concurrent, 1, 100_000),
            max_message_bytes=(max_message_bytes, 1, 2**31 - 1),
            poll_s=(poll_s if poll_s > 0 else 1.0, 0.01, 86400),
        )
        if port and port == rest_port:
            raise UsageError(
                f"`port` and `rest_port` must differ. Received: {port} twice"
            )
        self.host = host
        self.port = port
        self.rest_port = rest_port
        self._start_timeout_s = start_timeout_s
        self._workers = max(
            workers, 0 if batching is None else min(max_concurrent, 1024)
        )
        self._max_concurrent = max_concurrent
        self._max_bytes = max_message_bytes
        self._metrics = Metrics()
        self._metrics_path = options.metrics_path(monitoring)
        self._credentials = options.credentials(ssl) if ssl else None
        config = options.models_config(base_path, model_name, models)
        try:
            self._models = Models(
                config,
                loader=self._metrics.timed(Loader(batching)),
                poll_s=poll_s,
                allow_labels_for_unavailable=allow_labels_for_unavailable,
            )
        except StatusError as e:
            raise options.refused_config(e) from e
        self._in_flight = InFlight()
        self._health = Health() if health else None
        self._pool: RequestPool | None = None
        self._grpc: grpc.Server | None = None
        self._rest: RestServer | None = None
        self._stop_lock = threading.Lock()
        self._stopped = threading.Event()

    @property
    def model_names(self) -> list[str]:
        """The names of the models, as they are now."""
        return self._models.names

    @property
    def base_paths(self) -> list[str]:
        """The folders of the models' versions, as they are now."""
        return self._models.base_paths

    def start(self) -> "ModelServer":
        """Loads the models, then opens the ports and answers requests.

        A missing or empty base path is waited for.

        Returns:
            Itself.

        Raises:
            ModelError: No wanted version of a model loads.
            ServerError: A port is taken, no version came in time, or `stop`
                was called meanwhile.
        """
        # Told now rather than after a model's long loading.
        for port in (self.port, self.rest_port):
            if port:
                _check_port(self.host, port)
        try:
            self._models.start(self._start_timeout_s)
            self._open()
            if self._stopped.is_set():
                raise ServerError("stopped while it started")
        except BaseException:
            self.stop(0)
            raise
        _log.info(
            "models %s on %s: gRPC port %d, REST port %s",
            ", ".join(self.model_names),
            self.host,
            self.port,
            self.rest_port,
        )
        return self

    def wait(self, timeout_s: float | None = None) -> bool:
        """Blocks until `stop` was called elsewhere.

        Args:
            timeout_s: Longest wait in seconds; None waits for ever.

        Returns:
            Whether the server has stopped.
        """
        return self._stopped.wait(timeout_s)

    def stop(self, grace_s: float = 10.0) -> None:
        """Takes no more requests, finishes those under way, unloads.

        Waits on locks, so a signal handler must not call it: let the handler
        raise, and stop where that is caught.

        Args:
            grace_s: Longest wait in seconds for requests under way; those
                left are cancelled.
        """
        with self._stop_lock:
            self._stop(grace_s)

    def __enter__(self) -> "ModelServer":
        return self.start()

    def __exit__(self, *error) -> None:
        self.stop()

    def _stop(self, grace_s: float) -> None:
        if self._health:
            self._health.stop()
        finished = self._in_flight.drain(grace_s)
        if self._rest:
            self._rest.stop()
        if self._grpc:
            # Nothing is left to wait for, or its time is over: the answers
            # that are just being sent get a moment.
            ended = self._grpc.stop(1.0 if finished else 0.0)
            if self._health:
                self._health.close()
            ended.wait(2.0)
        self._models.stop()
        if self._pool:
            self._pool.shutdown(wait=False)
        self._grpc = self._rest = self._health = None
        self._stopped.set()

    def _open(self) -> None:
        port = self._open_grpc()
        if self.rest_port is not None:
            self._open_rest()
        self._grpc.start()
        self.port = port

    def _open_grpc(self) -> int:
        self._pool = RequestPool(self._workers, self._in_flight)
        self._grpc = grpc.server(
            self._pool,
            options=[
                ("grpc.max_receive_message_length", self._max_bytes),
                ("grpc.max_send_message_length", -1),
                # Else a second server shares the port, and half the requests.
                ("grpc.so_reuseport", 0),
            ],
            # Streams that watch the health take no place of a request.
            maximum_concurrent_rpcs=self._max_concurrent
            + (MAX_WATCHES if self._health else 0),
        )
        grpc_service.add_services(
            self._grpc,
            self._models,
            self._in_flight,
            self._max_bytes,
            self._metrics,
        )
        if self._health:
            self._grpc.add_generic_rpc_handlers([self._health.handler()])
        host = f"[{self.host}]" if ":" in self.host else self.host
        address = f"{host}:{self.port}"
        try:
            if self._credentials:
                return self._grpc.add_secure_port(address, self._credentials)
            return self._grpc.add_insecure_port(address)
        except RuntimeError as e:
            _check_port(self.host, self.port)
            raise _port_error(self.host, self.port, str(e)) from e

    def _open_rest(self) -> None:
        try:
            self._rest = RestServer(
                self.host,
                self.rest_port,
                self._models,
                self._in_flight,
                self._max_bytes,
                self._max_concurrent,
                self._metrics,
                self._metrics_path,
            )
        except OSError as e:
            raise _port_error(self.host, self.rest_port, e) from e
        self.rest_port = self._rest.port
        self._rest.start()


def _check_port(host: str, port: int) -> None:
    """Raises ServerError if nothing can listen on `port` of `host`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as e:
            raise _port_error(host, port, e) from e


def _port_error(host: str, port: int, reason: OSError | str) -> ServerError:
    if isinstance(reason, OSError):
        if reason.errno == errno.EADDRINUSE:
            return ServerError(
                f"port {port} of {host} is in use: stop what listens there, "
                "or choose another port (0 takes a free one)"
            )
        reason = reason.strerror or str(reason)
    return ServerError(f"cannot listen on port {port} of {host}: {reason}")
