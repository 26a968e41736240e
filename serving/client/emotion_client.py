"""A client of a model server that needs no TensorFlow."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from serving.client import errors, inputs, many, specs
from serving.client.calls import Calls, Readiness
from serving.client.connection import Connection, Endpoint, Tls

MAX_MESSAGE_BYTES = 256 << 20


class EmotionClient:
    """Asks a model server that speaks TensorFlow Serving's gRPC API.

    May be shared by threads. Also a context manager, which closes it.
    Every method raises `emorec.errors.ServerError` (its kinds are in
    `serving.client.errors`) with a message of one line. A call is tried again
    only where the server is UNAVAILABLE, with growing pauses, within its
    deadline. `timeout_s` of a method is that call's own deadline in seconds;
    None is the client's.
    """

    def __init__(
        self,
        address: str,
        model_name: str = "emotion",
        timeout_s: float = 60.0,
        version: int | None = None,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        *,
        label: str | None = None,
        tls: Tls | None = None,
        token: str | None = None,
        tries: int | None = None,
    ):
        """Connects at the first call, not here.

        Args:
            address: `host:port` of the server's gRPC port.
            model_name: The model's name on the server.
            timeout_s: Longest time in seconds for one call, tries included.
            version: The version to ask; None is the newest one.
            max_message_bytes: Largest request and answer; gRPC's own default
                of 4 MiB holds less than four clips.
            label: A version's label instead of its number (`stable`).
            tls: Encrypts, and says whom to trust; None speaks in the clear.
            token: Sent as `authorization: Bearer TOKEN`; needs `tls` unless
                the address is this machine's own.
            tries: Most tries of a call while the server is UNAVAILABLE; None
                goes on until the call's deadline.

        Raises:
            UsageError: The address is not `host:port`, or another argument
                is wrong.
        """
        self.address = address
        self.model_name = model_name
        endpoint = Endpoint(
            address, model_name, max_message_bytes, tls, token, tries
        )
        self._calls = Calls(endpoint, timeout_s, version, label)
        self._connection = Connection(endpoint)

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
        wait = Readiness(self._calls, timeout_s)
        while True:
            try:
                if wait.is_ready(self._status(wait.left, 1)):
                    return
            except (errors.Unavailable, errors.DeadlineExceeded) as e:
                wait.failed(e)
            time.sleep(wait.pause())

    def status(
        self, timeout_s: float | None = None
    ) -> list[specs.VersionStatus]:
        """Returns the model's versions, as the server lists them."""
        return self._status(self._calls.seconds(timeout_s))

    def metadata(
        self, timeout_s: float | None = None
    ) -> dict[str, specs.SignatureSpec]:
        """Returns the model's signatures by name."""
        return self._calls.signatures(
            self._connection.call(
                "GetModelMetadata",
                self._calls.metadata(),
                self._calls.seconds(timeout_s),
            )
        )

    def predict(
        self,
        signature_name: str,
        inputs: Mapping[str, np.ndarray],
        output_filter: Sequence[str] = (),
        timeout_s: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Runs a signature.

        Args:
            signature_name: Its name; "" is `serving_default`.
            inputs: One array for each input, of the input's dtype: nothing
                is cast. Strings as bytes or text.
            output_filter: Names of the outputs to give; none gives all.
            timeout_s: See the class.

        Returns:
            The outputs by name; strings are bytes in arrays of dtype object.

        Raises:
            BadRequest: The batch has no rows (a server with batching may die
                of that), or the server refuses the request.
            ServerError: The call fails.
        """
        request = self._calls.predict(signature_name, inputs, output_filter)
        return self._calls.prediction(
            self._connection.call(
                "Predict", request, self._calls.seconds(timeout_s)
            )
        )

    def predict_many(
        self,
        signature_name: str,
        requests: Iterable[Mapping[str, np.ndarray]],
        in_flight: int = 4,
        output_filter: Sequence[str] = (),
        timeout_s: float | None = None,
    ) -> Iterator[many.Outcome]:
        """Streams many requests, a few under way at a time.

        Args:
            signature_name: As in `predict`.
            requests: The inputs of each request (`serving.client.inputs`
                makes them); read as answers are taken, never all at once.
            in_flight: Most requests at a time, 1 to 1024.
            output_filter: As in `predict`.
            timeout_s: Deadline in seconds of each request.

        Yields:
            One outcome for each request, in their order; one that fails
            carries its error, and the others go on.
        """

        def call(request):
            return self.predict(
                signature_name, request, output_filter, timeout_s
            )

        return many.in_order(call, requests, in_flight)

    def jpegs(
        self,
        face: Sequence[Sequence[bytes]] | None,
        context: Sequence[Sequence[bytes]] | None,
        timeout_s: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Runs `jpegs` on B clips of JPEG crops.

        Args:
            face: For each clip its frames' face crops, encoded; clips may
                have different lengths. None for a system without that
                stream.
            context: The same for the context crops.
            timeout_s: See the class.

        Returns:
            `probabilities` f32 [B,K], `logits`, `labels` string [B,K] and,
            where there is one, `attention` f32 [B,T,T], T being the longest
            clip's length.

        Raises:
            BadRequest: The streams do not fit each other, or a frame is
                empty ("" is the padding).
            ServerError: The call fails.
        """
        made = inputs.jpegs(face, context)
        return self.predict("jpegs", made, timeout_s=timeout_s)

    def video(
        self,
        images: Sequence[Sequence[bytes]],
        times: Sequence[Sequence[float]],
        timeout_s: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Runs `video`: the server finds the faces itself.

        Args:
            images: For each of B videos its frames, whole, as JPEG.
            times: The frames' times in seconds, ascending.
            timeout_s: See the class.

        Returns:
            As `jpegs` does, and `boxes` f32 [B,T,4] (x0, y0, x1, y1 in
            pixels) with `mask` bool [B,T], True where the main person's face
            was found.

        Raises:
            BadRequest: The lengths differ, or a frame is empty.
            ServerError: The call fails.
        """
        made = inputs.video(images, times)
        return self.predict("video", made, timeout_s=timeout_s)

    def frames(
        self,
        face: np.ndarray | None,
        context: np.ndarray | None,
        mask: np.ndarray,
        timeout_s: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Runs `frames` on crops as pixels.

        Args:
            face: uint8 [B,T,h,w,3] RGB, or None for a system without it.
            context: uint8 [B,T,H,W,3], or None.
            mask: bool [B,T], True on the frames and then False.
            timeout_s: See the class.

        Returns:
            As `jpegs` does.
        """
        made = inputs.frames(face, context, mask)
        return self.predict("frames", made, timeout_s=timeout_s)

    def features(
        self,
        face_features: np.ndarray | None,
        context_features: np.ndarray | None,
        mask: np.ndarray,
        timeout_s: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Runs `features` on what the encoders gave.

        Args:
            face_features: f32 [B,T,Df], or None for a system without it.
            context_features: f32 [B,T,Dc], or None.
            mask: bool [B,T], True on the frames and then False.
            timeout_s: See the class.

        Returns:
            As `jpegs` does.
        """
        made = inputs.features(face_features, context_features, mask)
        return self.predict("features", made, timeout_s=timeout_s)

    def examples(
        self,
        serialized: Iterable[bytes],
        signature_name: str = "serving_default",
        timeout_s: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Runs a signature of serialized tf.train.Example records.

        Args:
            serialized: B records: clips for `serving_default`, features for
                `feature_examples`.
            signature_name: One of those two.
            timeout_s: See the class.

        Returns:
            As `jpegs` does.
        """
        made = inputs.examples(serialized)
        return self.predict(signature_name, made, timeout_s=timeout_s)

    def _status(
        self, timeout_s: float, tries: int | None = None
    ) -> list[specs.VersionStatus]:
        return specs.versions(
            self._connection.call(
                "GetModelStatus", self._calls.status(), timeout_s, tries
            )
        )
