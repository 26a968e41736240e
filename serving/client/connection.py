"""A connection to a model server: its methods, deadlines and tries."""

import random
import time
from typing import Any

import grpc

from serving.client import errors
from serving.client.messages import messages

# Seconds between two tries grow from the first to the second, 5 tries in all:
# 1.5 s bridge a restart, and a wrong address is still told soon.
_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.1, 2.0
TRIES = 5

_SERVICES = {
    "Predict": "PredictionService",
    "GetModelMetadata": "PredictionService",
    "GetModelStatus": "ModelService",
}


class Connection:
    """A channel to one server, for calls about one model."""

    def __init__(self, address: str, model_name: str, max_message_bytes: int):
        """Connects at the first call, not here.

        Args:
            address: `host:port`.
            model_name: The model that the calls ask for, for messages.
            max_message_bytes: Largest request and answer.
        """
        self._address = address
        self._model_name = model_name
        self._channel = grpc.insecure_channel(
            address,
            options=[
                ("grpc.max_send_message_length", max_message_bytes),
                ("grpc.max_receive_message_length", max_message_bytes),
                # http_proxy of the environment is not meant for model servers.
                ("grpc.enable_http_proxy", 0),
                # Tries are ours, within one deadline.
                ("grpc.enable_retries", 0),
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 2000),
            ],
        )
        self._methods = {
            name: self._channel.unary_unary(
                f"/tensorflow.serving.{service}/{name}",
                request_serializer=_class(f"{name}Request").SerializeToString,
                response_deserializer=_class(f"{name}Response").FromString,
            )
            for name, service in _SERVICES.items()
        }

    def close(self) -> None:
        """Closes the channel; calls under way are cancelled."""
        self._channel.close()

    def call(
        self, method: str, request: Any, timeout_s: float, tries: int = TRIES
    ) -> Any:
        """Calls a method; tries again where the server cannot be reached.

        Args:
            method: `Predict`, `GetModelMetadata` or `GetModelStatus`.
            request: Its request.
            timeout_s: Longest time in seconds, all tries together.
            tries: Most tries.

        Returns:
            The response.

        Raises:
            ServerError: See `serving.client.errors`.
        """
        ends = time.monotonic() + timeout_s
        pause = _FIRST_PAUSE_S
        while True:
            tries -= 1
            try:
                return self._methods[method](
                    request, timeout=ends - time.monotonic()
                )
            except grpc.RpcError as e:
                # At random, so that many clients do not come back together.
                wait = pause * random.uniform(0.5, 1)
                again = e.code() == grpc.StatusCode.UNAVAILABLE and tries > 0
                if not again or time.monotonic() + wait >= ends:
                    raise errors.from_rpc(
                        e, self._address, self._model_name
                    ) from e
            time.sleep(wait)
            pause = min(2 * pause, _LAST_PAUSE_S)


def _class(name: str) -> type:
    return getattr(messages(), name)
