"""Connections to a model server: channel, methods, deadlines and tries."""

import asyncio
import dataclasses
import ipaddress
import os
import pathlib
import random
import re
import time
from typing import Any

import grpc

from emorec.errors import UsageError
from serving.client import errors
from serving.client.messages import messages

# Seconds between two tries grow from the first to the second.
_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.1, 2.0

_SERVICES = {
    "Predict": "PredictionService",
    "GetModelMetadata": "PredictionService",
    "GetModelStatus": "ModelService",
}


@dataclasses.dataclass(frozen=True)
class Tls:
    """How the server is known, and how it knows the client.

    Attributes:
        ca: PEM of the authorities that are trusted; None takes gRPC's own
            list.
        certificate: PEM of the client's certificate chain, where the server
            asks for one (`client_verify`).
        key: PEM of its private key.
        server_name: The name in the server's certificate, where it is not
            the address's.
    """

    ca: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = dataclasses.field(default=None, repr=False)
    server_name: str | None = None

    @classmethod
    def from_files(
        cls,
        ca: str | os.PathLike | None = None,
        certificate: str | os.PathLike | None = None,
        key: str | os.PathLike | None = None,
        server_name: str | None = None,
    ) -> "Tls":
        """Reads the PEM files.

        Raises:
            UsageError: A file cannot be read.
        """
        return cls(_pem(ca), _pem(certificate), _pem(key), server_name)


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """Where a server is and how it is spoken to.

    Attributes:
        address: `host:port`.
        model_name: The model that the calls ask for, for messages.
        max_message_bytes: Largest request and answer.
        tls: None speaks in the clear.
        token: Sent as `authorization: Bearer TOKEN` with each call.
        tries: Most tries of a call while the server is UNAVAILABLE; None
            goes on until the call's deadline.

    Raises:
        UsageError: The address is not `host:port`, a certificate lacks its
            key, a token would cross a network in the clear or cannot be
            sent, or `tries` is less than 1.
    """

    address: str
    model_name: str
    max_message_bytes: int
    tls: Tls | None = None
    token: str | None = dataclasses.field(default=None, repr=False)
    tries: int | None = None

    def __post_init__(self):
        if self.tries is not None and self.tries < 1:
            raise UsageError(
                f"`tries` must be 1 or more. Received: {self.tries}"
            )
        host, colon, port = self.address.rpartition(":")
        # gRPC would take a larger port modulo 65536: another server's.
        is_port = re.fullmatch("[0-9]{1,5}", port) and 0 < int(port) < 65536
        if not (host and colon and is_port) or "/" in self.address:
            raise UsageError(
                "`address` must be host:port, such as 127.0.0.1:8500. "
                f"Received: {self.address!r}"
            )
        tls = self.tls
        if tls and (tls.certificate is None) != (tls.key is None):
            raise UsageError(
                "`tls` must have both `certificate` and `key`, or neither"
            )
        if self.token is not None and not re.fullmatch("[!-~]+", self.token):
            raise UsageError(
                "`token` must be letters of ASCII without spaces and line "
                "ends. Received: another text (not shown)"
            )
        if self.token is not None and tls is None and not _is_loopback(host):
            raise UsageError(
                "`token` must not cross a network in the clear: give `tls` "
                f"too. Received: the address {self.address}"
            )

    def channel(self, library: Any) -> Any:
        """Returns a channel that connects at the first call.

        Args:
            library: `grpc`, or `grpc.aio` for a channel of coroutines.
        """
        options = [
            ("grpc.max_send_message_length", self.max_message_bytes),
            ("grpc.max_receive_message_length", self.max_message_bytes),
            # http_proxy of the environment is not meant for model servers.
            ("grpc.enable_http_proxy", 0),
            # Tries are ours, within one deadline.
            ("grpc.enable_retries", 0),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2000),
        ]
        if self.tls is None:
            return library.insecure_channel(self.address, options=options)
        if self.tls.server_name:
            name = self.tls.server_name
            options.append(("grpc.ssl_target_name_override", name))
        credentials = grpc.ssl_channel_credentials(
            self.tls.ca, self.tls.key, self.tls.certificate
        )
        return library.secure_channel(
            self.address, credentials, options=options
        )

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What is sent beside each request."""
        if self.token is None:
            return ()
        return (("authorization", f"Bearer {self.token}"),)

    def error(self, error: grpc.RpcError) -> errors.ServerError:
        """Returns a failed call as an error of one line."""
        return errors.from_rpc(error, self.address, self.model_name)


class Connection:
    """A channel to one server, for calls about one model."""

    def __init__(self, endpoint: Endpoint):
        """Connects at the first call, not here."""
        self._endpoint = endpoint
        self._is_closed = False
        self._channel = endpoint.channel(grpc)
        self._methods = _methods(self._channel)

    def close(self) -> None:
        """Closes the channel; calls under way are cancelled."""
        self._is_closed = True
        self._channel.close()

    def call(
        self,
        method: str,
        request: Any,
        timeout_s: float,
        tries: int | None = None,
    ) -> Any:
        """Calls a method; tries again where the server cannot be reached.

        Args:
            method: `Predict`, `GetModelMetadata` or `GetModelStatus`.
            request: Its request.
            timeout_s: Longest time in seconds, all tries together.
            tries: Most tries; None is the endpoint's number.

        Returns:
            The response.

        Raises:
            ServerError: See `serving.client.errors`.
        """
        attempts = _Attempts(timeout_s, tries or self._endpoint.tries)
        while True:
            try:
                return self._methods[method](
                    request,
                    timeout=attempts.left,
                    metadata=self._endpoint.metadata,
                )
            except grpc.RpcError as e:
                wait = attempts.wait_after(e)
                if wait is None:
                    raise self._endpoint.error(e) from e
            except ValueError as e:
                # What gRPC says of its channel.
                if not self._is_closed:
                    raise
                raise errors.ServerError(
                    f"the client of {self._endpoint.address} is closed: make "
                    "another one"
                ) from e
            time.sleep(wait)


class AsyncConnection:
    """`Connection` for coroutines of one event loop."""

    def __init__(self, endpoint: Endpoint):
        """Connects at the first call, not here."""
        self._endpoint = endpoint
        self._channel = endpoint.channel(grpc.aio)
        self._methods = _methods(self._channel)

    async def close(self) -> None:
        """Closes the channel; calls under way are cancelled."""
        await self._channel.close()

    async def call(
        self,
        method: str,
        request: Any,
        timeout_s: float,
        tries: int | None = None,
    ) -> Any:
        """As `Connection.call`."""
        attempts = _Attempts(timeout_s, tries or self._endpoint.tries)
        while True:
            try:
                return await self._methods[method](
                    request,
                    timeout=attempts.left,
                    metadata=self._endpoint.metadata,
                )
            except grpc.RpcError as e:
                wait = attempts.wait_after(e)
                if wait is None:
                    raise self._endpoint.error(e) from e
            await asyncio.sleep(wait)


class _Attempts:
    """The tries of one call within its deadline."""

    def __init__(self, timeout_s: float, tries: int | None):
        self._ends = time.monotonic() + timeout_s
        self._tries = tries
        self._made = 0
        self._pause = _FIRST_PAUSE_S

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self._ends - time.monotonic()

    def wait_after(self, error: grpc.RpcError) -> float | None:
        """Returns the seconds until the next try; None is to give up.

        Only UNAVAILABLE is tried again: the server has not begun the work.
        """
        self._made += 1
        # At random, so that many clients do not come back together.
        wait = self._pause * random.uniform(0.5, 1)
        self._pause = min(2 * self._pause, _LAST_PAUSE_S)
        again = error.code() == grpc.StatusCode.UNAVAILABLE and (
            self._tries is None or self._made < self._tries
        )
        return wait if again and wait < self.left else None


def _methods(channel: Any) -> dict[str, Any]:
    return {
        name: channel.unary_unary(
            f"/tensorflow.serving.{service}/{name}",
            request_serializer=_class(f"{name}Request").SerializeToString,
            response_deserializer=_class(f"{name}Response").FromString,
        )
        for name, service in _SERVICES.items()
    }


def _class(name: str) -> type:
    return getattr(messages(), name)


def _pem(path: str | os.PathLike | None) -> bytes | None:
    if path is None:
        return None
    try:
        data = pathlib.Path(path).read_bytes()
    except OSError as e:
        raise UsageError(
            f"{path}: cannot be read ({e.strerror}); give a PEM file"
        ) from e
    if b"-----BEGIN " not in data:
        raise UsageError(f"{path}: is not a PEM file (it has no BEGIN line)")
    return data


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
