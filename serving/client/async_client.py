"""The client for programs of coroutines (asyncio)."""

import asyncio
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Iterable,
    Mapping,
    Sequence,
)

import numpy as np

from serving.client import errors, inputs, many, specs
from serving.client.calls import Calls, Readiness
from serving.client.connection import AsyncConnection, Endpoint, Tls
from serving.client.emotion_client import MAX_MESSAGE_BYTES


class AsyncEmotionClient:
    """`EmotionClient` with coroutines: same arguments, answers and errors.

    For one event loop; also an asynchronous context manager, which closes it.
    What each method takes and gives is written there.
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
        """Connects at the first call; see `EmotionClient`.

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
        self._endpoint = endpoint
        self._opened: AsyncConnection | None = None

    async def __aenter__(self) -> "AsyncEmotionClient":
        return self

    async def __aexit__(self, *error) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection."""
        if self._opened:
            await self._opened.close()
            self._opened = None

    async def wait_ready(self, timeout_s: float | None = None) -> None:
        """See `EmotionClient.wait_ready`."""
        wait = Readiness(self._calls, timeout_s)
        while True:
            try:
                if wait.is_ready(await self._status(wait.left, 1)):
                    return
            except (errors.Unavailable, errors.DeadlineExceeded) as e:
                wait.failed(e)
            await asyncio.sleep(wait.pause())

    async def status(
        self, timeout_s: float | None = None
    ) -> list[specs.VersionStatus]:
        """See `EmotionClient.status`."""
        return await self._status(self._calls.seconds(timeout_s))

    async def metadata(
        self, timeout_s: float | None = None
    ) -> dict[str, specs.SignatureSpec]:
        """See `EmotionClient.metadata`."""
        return self._calls.signatures(
            await self._connection.call(
                "GetModelMetadata",
                self._calls.metadata(),
                self._calls.seconds(timeout_s),
            )
        )

    async def predict(
        self,
        signature_name: str,
        inputs: Mapping[str, np.ndarray],
        output_filter: Sequence[str] = (),
        timeout_s: float | None = None,
    ) -> dict[str, np.ndarray]:
        """See `EmotionClient.predict`."""
        request = self._calls.predict(signature_name, inputs, output_filter)
        return self._calls.prediction(
            await self._connection.call(
                "Predict", request, self._calls.seconds(timeout_s)
            )
        )

    def predict_many(
        self,
        signature_name: str,
        requests: Iterable[Mapping[str, np.ndarray]]
        | AsyncIterable[Mapping[str, np.ndarray]],
        in_flight: int = 4,
        output_filter: Sequence[str] = (),
        timeout_s: float | None = None,
    ) -> AsyncIterator[many.Outcome]:
        """See `EmotionClient.predict_many`; `requests` may be asynchronous."""

        async def call(request):
            return await self.predict(
                signature_name, request, output_filter, timeout_s
            )

        return many.in_order_async(call, requests, in_flight)

    async def jpegs(
        self,
        face: Sequence[Sequence[bytes]] | None,
        context: Sequence[Sequence[bytes]] | None,
        timeout_s: float | None = None,
    ) -> dict[str, np.ndarray]:
        """See `EmotionClient.jpegs`."""
        made = inputs.jpegs(face, context)
        return await self.predict("jpegs", made, timeout_s=timeout_s)

    async def video(
        self,
        images: Sequence[Sequence[bytes]],
        times: Sequence[Sequence[float]],
        timeout_s: float | None = None,
    ) -> dict[str, np.ndarray]:
        """See `EmotionClient.video`."""
        made = inputs.video(images, times)
        return await self.predict("video", made, timeout_s=timeout_s)

    async def frames(
        self,
        face: np.ndarray | None,
        context: np.ndarray | None,
        mask: np.ndarray,
        timeout_s: float | None = None,
    ) -> dict[str, np.ndarray]:
        """See `EmotionClient.frames`."""
        made = inputs.frames(face, context, mask)
        return await self.predict("frames", made, timeout_s=timeout_s)

    async def features(
        self,
        face_features: np.ndarray | None,
        context_features: np.ndarray | None,
        mask: np.ndarray,
        timeout_s: float | None = None,
    ) -> dict[str, np.ndarray]:
        """See `EmotionClient.features`."""
        made = inputs.features(face_features, context_features, mask)
        return await self.predict("features", made, timeout_s=timeout_s)

    async def examples(
        self,
        serialized: Iterable[bytes],
        signature_name: str = "serving_default",
        timeout_s: float | None = None,
    ) -> dict[str, np.ndarray]:
        """See `EmotionClient.examples`."""
        made = inputs.examples(serialized)
        return await self.predict(signature_name, made, timeout_s=timeout_s)

    @property
    def _connection(self) -> AsyncConnection:
        # An asynchronous channel belongs to the loop that is running.
        if self._opened is None:
            self._opened = AsyncConnection(self._endpoint)
        return self._opened

    async def _status(
        self, timeout_s: float, tries: int | None = None
    ) -> list[specs.VersionStatus]:
        return specs.versions(
            await self._connection.call(
                "GetModelStatus", self._calls.status(), timeout_s, tries
            )
        )
