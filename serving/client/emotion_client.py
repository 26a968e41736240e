"""A client of a model server that needs no TensorFlow."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from emorec.errors import UsageError
from serving import tensors
from serving.client import connection, errors, specs
from serving.client.messages import messages

_MAX_TENSOR_BYTES = 2**31


class EmotionClient:
    """Asks a model server that speaks TensorFlow Serving's gRPC API.

    May be shared by threads. Also a context manager, which closes it.
    Every method raises `emorec.errors.ServerError` (see
    `serving.client.errors`) with a message of one line.
    """

    def __init__(
        self,
        address: str,
        model_name: str = "emotion",
        timeout_s: float = 60.0,
        version: int | None = None,
        max_message_bytes: int = 256 << 20,
    ):
        """Connects at the first call, not here.

        Args:
            address: `host:port` of the server's gRPC port.
            model_name: The model's name on the server.
            timeout_s: Longest time in seconds for one call, tries included.
            version: The version to ask; None is the newest one.
            max_message_bytes: Largest request and answer; gRPC's own default
                of 4 MiB holds less than four clips.

        Raises:
            UsageError: The address is not `host:port`, or a number is wrong.
        """
        host, colon, port = address.rpartition(":")
        if not (host and colon and port.isascii() and port.isdigit()) or (
            "/" in address
        ):
            raise UsageError(
                "`address` must be host:port, such as 127.0.0.1:8500. "
                f"Received: {address!r}"
            )
        if timeout_s <= 0:
            raise UsageError(
                f"`timeout_s` must be more than 0. Received: {timeout_s}"
            )
        self.address = address
        self.model_name = model_name
        self._timeout_s = timeout_s
        self._version = version
        self._messages = messages()
        self._connection = connection.Connection(
            address, model_name, max_message_bytes
        )

    def __enter__(self) -> "EmotionClient":
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    def wait_ready(self, timeout_s: float | None = None) -> None:
        """Waits until the server answers and the model is available.

        Args:
            timeout_s: Longest wait in seconds; None is the client's own.

        Raises:
            ModelNotFound: The server has no such model.
            Unavailable: The time is over.
        """
        if timeout_s is None:
            timeout_s = self._timeout_s
        ends = time.monotonic() + timeout_s
        pause = 0.1
        while True:
            try:
                states = self._status(max(0.1, ends - time.monotonic()), 1)
                if any(s.state == specs.AVAILABLE for s in states):
                    return
                reason = "; ".join(
                    f"version {s.version} is {s.state} {s.error_message}"
                    for s in states
                )
            except (errors.Unavailable, errors.DeadlineExceeded) as e:
                reason = str(e)
            left = ends - time.monotonic()
            if left <= 0:
                raise errors.Unavailable(
                    f"model server {self.address} is not ready after "
                    f"{timeout_s:g} s: {' '.join(reason.split())}"
                )
            time.sleep(min(pause, left))
            pause = min(2 * pause, 1.0)

    def status(self) -> list[specs.VersionStatus]:
        """Returns the model's versions, as the server lists them."""
        return self._status(self._timeout_s, connection.TRIES)

    def metadata(self) -> dict[str, specs.SignatureSpec]:
        """Returns the model's signatures by name."""
        m = self._messages
        request = m.GetModelMetadataRequest(
            model_spec=self._spec(), metadata_field=["signature_def"]
        )
        response = self._connection.call(
            "GetModelMetadata", request, self._timeout_s
        )
        found = m.SignatureDefMap.FromString(
            response.metadata["signature_def"].value
        )
        return specs.signatures(found)

    def predict(
        self,
        signature_name: str,
        inputs: Mapping[str, np.ndarray],
        output_filter: Sequence[str] = (),
    ) -> dict[str, np.ndarray]:
        """Runs a signature.

        Args:
            signature_name: Its name; "" is `serving_default`.
            inputs: One array for each input, of the input's dtype: nothing
                is cast. Strings as bytes or text.
            output_filter: Names of the outputs to give; none gives all.

        Returns:
            The outputs by name; strings are bytes in arrays of dtype object.

        Raises:
            BadRequest: The batch has no rows (a server with batching may die
                of that), or the server refuses the request.
            ServerError: The call fails.
        """
        request = self._messages.PredictRequest(
            model_spec=self._spec(signature_name), output_filter=output_filter
        )
        for name, value in inputs.items():
            array = np.asarray(value)
            if array.ndim and not len(array):
                raise errors.BadRequest(
                    f"`{name}` must hold at least one row. Received: an "
                    f"array of shape {array.shape}"
                )
            try:
                tensors.fill(request.inputs[name], array, content=True)
            except ValueError as e:
                raise errors.BadRequest(f"`{name}` cannot be sent: {e}") from e
        response = self._connection.call("Predict", request, self._timeout_s)
        try:
            return {
                name: tensors.to_array(proto, _MAX_TENSOR_BYTES)
                for name, proto in response.outputs.items()
            }
        except ValueError as e:
            raise errors.ServerError(
                f"model server {self.address} gave an answer that cannot be "
                f"read: {e}"
            ) from e

    def jpegs(
        self,
        face: Sequence[Sequence[bytes]] | None,
        context: Sequence[Sequence[bytes]] | None,
    ) -> dict[str, np.ndarray]:
        """Runs `jpegs` on B clips of JPEG crops.

        Args:
            face: For each clip its frames' face crops, encoded; clips may
                have different lengths. None for a system without that
                stream.
            context: The same for the context crops.

        Returns:
            `probabilities` f32 [B,K], `logits`, `labels` string [B,K] and,
            where there is one, `attention` f32 [B,T,T], T being the longest
            clip's length.

        Raises:
            BadRequest: The streams do not fit each other, or a frame is
                empty ("" is the padding).
            ServerError: The call fails.
        """
        streams = {
            name: clips
            for name, clips in (("face", face), ("context", context))
            if clips is not None
        }
        lengths = {n: list(map(len, clips)) for n, clips in streams.items()}
        if len({tuple(of_stream) for of_stream in lengths.values()}) != 1:
            raise errors.BadRequest(
                "`face` and `context` must have clips of equal lengths. "
                f"Received: {lengths}"
            )
        inputs = {name: _padded(name, c) for name, c in streams.items()}
        return self.predict("jpegs", inputs)

    def features(
        self,
        face_features: np.ndarray | None,
        context_features: np.ndarray | None,
        mask: np.ndarray,
    ) -> dict[str, np.ndarray]:
        """Runs `features` on what the encoders gave.

        Args:
            face_features: f32 [B,T,Df], or None for a system without it.
            context_features: f32 [B,T,Dc], or None.
            mask: bool [B,T], True on the frames and then False.

        Returns:
            As `jpegs` does.
        """
        inputs = {"mask": np.asarray(mask, bool)}
        for name, values in (
            ("face_features", face_features),
            ("context_features", context_features),
        ):
            if values is not None:
                inputs[name] = np.asarray(values, np.float32)
        return self.predict("features", inputs)

    def examples(
        self,
        serialized: Iterable[bytes],
        signature_name: str = "serving_default",
    ) -> dict[str, np.ndarray]:
        """Runs a signature of serialized tf.train.Example records.

        Args:
            serialized: B records: clips for `serving_default`, features for
                `feature_examples`.
            signature_name: One of those two.

        Returns:
            As `jpegs` does.
        """
        array = _strings(list(serialized))
        return self.predict(signature_name, {"examples": array})

    def _spec(self, signature_name: str = "") -> Any:
        spec = self._messages.ModelSpec(
            name=self.model_name, signature_name=signature_name
        )
        if self._version is not None:
            spec.version.value = self._version
        return spec

    def _status(
        self, timeout_s: float, tries: int
    ) -> list[specs.VersionStatus]:
        request = self._messages.GetModelStatusRequest(model_spec=self._spec())
        response = self._connection.call(
            "GetModelStatus", request, timeout_s, tries
        )
        return specs.versions(response)


def _padded(name: str, clips: Sequence[Sequence[bytes]]) -> np.ndarray:
    """Returns string [B,T], padded with "" to the longest clip."""
    length = max([1, *map(len, clips)])
    array = np.full((len(clips), length), b"", object)
    for i, clip in enumerate(clips):
        for t, frame in enumerate(clip):
            if not isinstance(frame, bytes) or not frame:
                raise errors.BadRequest(
                    f"`{name}` must hold encoded JPEGs as bytes; clip {i}, "
                    f"frame {t} is {frame!r:.40}"
                )
            array[i, t] = frame
    return array


def _strings(values: Sequence[bytes]) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array
