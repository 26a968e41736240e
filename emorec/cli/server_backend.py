"""The prediction backend that asks a model server through the light client."""

import json
from collections.abc import Sequence

import numpy as np

from emorec import predict
from emorec.errors import ModelError
from emorec.video.clip import Clip
from emorec.video.engine import Engine

# About 1.5 s: a restart is bridged, and a wrong address told soon.
_TRIES = 5


class ServerBackend:
    """A model behind a server; see `emorec.predict.Backend`.

    Args:
        address: HOST:PORT of the gRPC port.
        model_name: The model's name there.
        timeout_s: Seconds that one request may take.
        tls: `serving.client.Tls`, or None to speak in the clear.
        token: Sent with each request; None sends none.
    """

    def __init__(
        self,
        address: str,
        model_name: str,
        timeout_s: float,
        tls=None,
        token: str | None = None,
    ):
        from serving.client import errors
        from serving.client.emotion_client import EmotionClient

        self._client = EmotionClient(
            address,
            model_name=model_name,
            timeout_s=timeout_s,
            tls=tls,
            token=token,
            tries=_TRIES,
        )
        try:
            answer = self._client.predict(
                "describe", {"query": np.array([b""], object)}
            )
            self.description = json.loads(answer["config"][0])
        except (
            errors.BadRequest,
            KeyError,
            IndexError,
            TypeError,
            ValueError,
        ) as e:
            raise ModelError(
                f"{address}: the model {model_name!r} is not one of emorec's "
                "(its `describe` signature gives no config); serve one made "
                "by `emorec export`"
            ) from e
        self.config, self.labels = predict.parse_description(self.description)
        self._streams = self.description["streams"]

    def engine(self) -> Engine:
        """Returns the networks of a face detector beside this client."""
        from emorec.features import detector

        return detector.engine()

    def warm_up(self) -> None:
        """Nothing: that is the server's to do, before it serves."""

    def predict(self, clips: Sequence[Clip]) -> list[predict.Answer]:
        outputs = self._client.jpegs(
            *(
                [getattr(c, s) for c in clips] if s in self._streams else None
                for s in ("face", "context")
            )
        )
        return predict.split_answers(
            outputs["probabilities"],
            outputs.get("attention"),
            [c.frames_with_face for c in clips],
        )

    def serving_default(self, examples: list[bytes]) -> np.ndarray:
        """Probabilities f32 [B, K] for serialized records of frames."""
        return self._client.examples(examples)["probabilities"]
