"""Runs the method behind a gRPC call; its errors become the call's status."""

import logging
from collections.abc import Callable
from typing import Any

import grpc

from serving.server import batching_queue, status
from serving.server.in_flight import InFlight

_log = logging.getLogger(__name__)


def answer(
    in_flight: InFlight,
    context: grpc.ServicerContext,
    method: Callable,
    *arguments: Any,
) -> Any:
    """Returns what a method answers, or ends the call with its error.

    A module of its own, since every service needs it and `grpc_service`
    needs every service.

    Args:
        in_flight: What counts the requests.
        context: The call.
        method: What answers it.
        *arguments: The method's arguments.

    Raises:
        Exception: The call is aborted, with the code and the cut message of
            what `method` raised.
    """
    if not context.is_active():
        # It waited for a thread beyond its deadline: nobody reads an answer.
        context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "too late to start")
    try:
        with (
            in_flight.request(),
            batching_queue.caller(lambda: not context.is_active()),
        ):
            return method(*arguments)
    except Exception as e:
        error = status.from_exception(e)
        if error.code == grpc.StatusCode.INTERNAL:
            _log.exception("%s failed", method.__name__)
    context.abort(error.code, error.grpc_details)
