"""The systems by id: how each is built from a config and feature sizes."""

import dataclasses
from collections.abc import Callable

import keras

from emorec.config import ModelConfig
from emorec.errors import ConfigError
from emorec.models.caca_rnn import CascadeRNN, StreamSpec

# The sizes at which the paper counts parameters (derived from its Table I).
PAPER_FACE_SIZE = 2048
PAPER_CONTEXT_SIZE = 512
PAPER_CLASSES = 8


@dataclasses.dataclass(frozen=True)
class System:
    """One system of the paper.

    Attributes:
        id: The id used in flags, tables and files.
        title: The name in the paper.
        streams: Names of the streams it reads, in its own order.
        build: `(config, sizes: stream name -> D, num_classes, use_cudnn) ->
            keras.Model`.
        paper_params: The paper's figure (Table I), or None where it has none.
    """

    id: str
    title: str
    streams: tuple[str, ...]
    build: Callable[..., keras.Model]
    paper_params: str | None = None


def _cascade(*stacks):
    """Returns a builder of a cascade of `(stream, encoded, layers)` stacks."""

    def build(config, sizes, num_classes, use_cudnn):
        return CascadeRNN(
            [
                StreamSpec(
                    name,
                    sizes[name],
                    config.encoder_units if encoded else 0,
                    layers,
                )
                for name, encoded, layers in stacks
            ],
            units=config.rnn_units,
            num_classes=num_classes,
            dropout=config.dropout,
            use_cudnn=use_cudnn,
        )

    return build


SYSTEMS = {
    s.id: s
    for s in (
        System(
            "caca_rnn_a",
            "CACA-RNN A",
            ("context", "face"),
            _cascade(("context", True, 2), ("face", True, 1)),
            "0.79M",
        ),
        System(
            "caca_rnn_b",
            "CACA-RNN B",
            ("face", "context"),
            _cascade(("face", True, 2), ("context", True, 1)),
            "0.79M",
        ),
        System(
            "caca_rnn_mec2017",
            "CACA-RNN as submitted to MEC 2017",
            ("context", "face"),
            # The context's pooled values go in as they are (section V-C).
            _cascade(("context", False, 1), ("face", True, 2)),
        ),
    )
}


def build(
    config: ModelConfig,
    sizes: dict[str, int],
    num_classes: int,
    use_cudnn: str | bool = "auto",
) -> keras.Model:
    """Builds the system that `config.system` names.

    Args:
        config: Its `system`, sizes and dropout.
        sizes: D of each stream's features, `{"face": .., "context": ..}`.
        num_classes: K.
        use_cudnn: See `CascadeRNN`.

    Raises:
        ConfigError: There is no such system.
    """
    return get(config.system).build(config, sizes, num_classes, use_cudnn)


def get(system: str) -> System:
    """Returns the system of that id, or raises `ConfigError`."""
    if system not in SYSTEMS:
        raise ConfigError(
            f"`system` must be one of {', '.join(SYSTEMS)}. "
            f"Received: {system!r}"
        )
    return SYSTEMS[system]
