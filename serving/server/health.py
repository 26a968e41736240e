"""grpc.health.v1.Health, the standard health service of gRPC.

Its protocol is two messages of one field each, built here rather than taken
from grpcio-health-checking: one dependency less. They live in a descriptor
pool of their own, so that a program that has that package has no clash.
"""

import dataclasses
import functools
from collections.abc import Callable
from concurrent import futures

import grpc
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
)

SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3
# As the real server: without the package's name, but for the whole server.
NAMES = ("", "PredictionService", "ModelService")
# A stream of Watch is a call under way for as long as it is watched.
MAX_WATCHES = 32

_PACKAGE = "grpc.health.v1"


class Health:
    """The health service of one server; serving until `stop`."""

    def __init__(self):
        """Watches nothing yet."""
        # Threads of their own: a probe must not wait behind predictions, nor
        # behind one who watches but does not read.
        self._checks = futures.ThreadPoolExecutor(1, "health-check")
        # Whatever a stream is sent, this one thread sends.
        self._sender = futures.ThreadPoolExecutor(1, "health-watch")
        self._status = SERVING
        # What sends to each stream; of the sender's thread alone.
        self._watches: list[_Watch] = []

    def handler(self) -> grpc.GenericRpcHandler:
        """Returns what to add to a gRPC server."""
        request, response = _messages()
        kinds = {
            "request_deserializer": request.FromString,
            "response_serializer": response.SerializeToString,
        }

        def check(message, context):
            if message.service not in NAMES:
                context.abort(grpc.StatusCode.NOT_FOUND, "service name unknown")
            return response(status=self._status)

        def watch(message, context, send_response_callback):
            self._watch(
                _Watch(message.service, context, send_response_callback)
            )

        # Else each stream would hold a thread till its end.
        watch.experimental_non_blocking = True
        watch.experimental_thread_pool = self._sender
        check.experimental_thread_pool = self._checks
        return grpc.method_handlers_generic_handler(
            f"{_PACKAGE}.Health",
            {
                "Check": grpc.unary_unary_rpc_method_handler(check, **kinds),
                "Watch": grpc.unary_stream_rpc_method_handler(watch, **kinds),
            },
        )

    def stop(self) -> None:
        """Says NOT_SERVING from now on, to those who watch as well."""
        self._status = NOT_SERVING
        self._sender.submit(self._tell_all)

    def close(self) -> None:
        """Ends the streams of those who watch."""
        self._sender.submit(self._end_all)
        self._sender.shutdown(wait=False)
        self._checks.shutdown(wait=False)

    def _watch(self, watch: "_Watch") -> None:
        self._watches = [w for w in self._watches if w.context.is_active()]
        if len(self._watches) >= MAX_WATCHES:
            watch.context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{MAX_WATCHES} streams watch already",
            )
        self._watches.append(watch)
        known = watch.service in NAMES
        watch.tell(self._status if known else SERVICE_UNKNOWN)

    def _tell_all(self) -> None:
        for watch in self._watches:
            if watch.service in NAMES:
                watch.tell(self._status)

    def _end_all(self) -> None:
        for watch in self._watches:
            if watch.context.is_active():
                watch.send(None)


@dataclasses.dataclass(frozen=True)
class _Watch:
    """A stream of Watch: of which service, and how to send to it."""

    service: str
    context: grpc.ServicerContext
    send: Callable

    def tell(self, status: int) -> None:
        _, response = _messages()
        self.send(response(status=status))


@functools.cache
def _messages() -> tuple[type, type]:
    """Returns the classes of HealthCheckRequest and HealthCheckResponse."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="emorec/health.proto", package=_PACKAGE, syntax="proto3"
    )
    for message, name, kind in (
        ("HealthCheckRequest", "service", field.TYPE_STRING),
        # An enum, which is the same on the wire.
        ("HealthCheckResponse", "status", field.TYPE_INT32),
    ):
        file.message_type.add(name=message).field.add(
            name=name, number=1, type=kind, label=field.LABEL_OPTIONAL
        )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    request, response = (
        message_factory.GetMessageClass(
            pool.FindMessageTypeByName(f"{_PACKAGE}.{message.name}")
        )
        for message in file.message_type
    )
    return request, response
