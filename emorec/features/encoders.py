"""The encoders of a model's streams, and what inputs want of them."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from emorec.errors import ConfigError

if TYPE_CHECKING:
    # Keras, without which a model of ONNX is read.
    from emorec.features.encoder import Encoder

STREAMS = ("face", "context")


@dataclasses.dataclass(frozen=True)
class Encoders:
    """The frozen encoders; None for a stream that nobody reads."""

    face: "Encoder | None" = None
    context: "Encoder | None" = None

    def of(self, stream: str) -> "Encoder | None":
        """Returns a stream's encoder."""
        return getattr(self, stream)

    def items(self) -> list[tuple[str, "Encoder"]]:
        """Returns (stream, encoder) of those that there are."""
        pairs = [(s, self.of(s)) for s in STREAMS]
        return [(s, e) for s, e in pairs if e is not None]

    def only(self, inputs: Sequence[str]) -> "Encoders":
        """Returns the encoders that some inputs need.

        Raises:
            ConfigError: One is absent, or does not give what is wanted.
        """
        for name in inputs:
            if name not in self.shapes:
                raise ConfigError(_lacking(name, self))
        streams = {name.partition("_")[0] for name in inputs}
        return Encoders(**{s: e for s, e in self.items() if s in streams})

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of a step of all that the encoders give, by input's name."""
        return {
            f"{stream}_{kind}": tuple(shape)
            for stream, encoder in self.items()
            for kind, shape in encoder.outputs.items()
        }

    @property
    def hash(self) -> str:
        """Names the encoders."""
        return "-".join(encoder.hash for _, encoder in self.items())

    @property
    def random_weights(self) -> list[str]:
        """Names of the streams whose encoder has random weights."""
        return [n for n, e in self.items() if e.weights["random"]]


def _lacking(name, encoders) -> str:
    stream, _, kind = name.partition("_")
    encoder = encoders.of(stream)
    if encoder is None:
        return f"an encoder of the {stream} stream is needed for {name!r}"
    return (
        f"the {stream} encoder ({encoder.weights['name']}) gives no {kind}, "
        f"which the system reads; it gives {', '.join(encoder.outputs)}. "
        f"Choose another one by --{stream}_encoder, or another system"
    )


def kinds_of(inputs: Sequence[str], stream: str) -> tuple[str, ...]:
    """Returns what some inputs want of a stream's encoder."""
    parts = [name.partition("_") for name in inputs]
    return tuple(kind for s, _, kind in parts if s == stream)
