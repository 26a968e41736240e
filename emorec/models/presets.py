"""The systems by id: what each reads, and how it is built.

The one list of systems. A network's inputs are called `<stream>_<kind>`, as
the encoders' outputs: kinds are `features` [D], `maps` [h, w, C] and
`probabilities` [M], each a step.
"""

import dataclasses
from collections.abc import Callable, Sequence

import keras

from emorec.config import ModelConfig
from emorec.errors import ConfigError
from emorec.models.baselines import ConcatenatedRNN, ParallelRNN
from emorec.models.caca_rnn import CascadeRNN
from emorec.models.cnn_2d3d import CNN2D3D
from emorec.models.ensemble import Ensemble
from emorec.models.parts import StreamSpec
from emorec.models.untrained import FaceAverage, Majority

# What the paper counts parameters at (derived from its Table I), and the
# shapes of the kinds that its table does not have.
PAPER_SHAPES = {
    "face_features": (2048,),
    "context_features": (512,),
    "face_maps": (7, 7, 2048),
    "face_probabilities": (7,),
}
PAPER_CLASSES = 8
ENSEMBLE = "ensemble"
# The paper's submission (section VI-B).
PAPER_MEMBERS = ("caca_rnn_mec2017", "cnn_2d3d")


@dataclasses.dataclass(frozen=True)
class Paper:
    """What the paper reports of a system, never to be taken for ours.

    Attributes:
        params: Parameters (Table I), or None.
        map: Macro average precision on CHEAVD 2.0's validation set, in %.
        acc: Accuracy there, in %.
        table: The paper's table.
    """

    params: str | None
    map: float
    acc: float
    table: str


@dataclasses.dataclass(frozen=True)
class System:
    """One system.

    Attributes:
        id: The id used in flags, tables and files.
        title: The name in the paper, or of the baseline.
        inputs: What it reads of each step, in its own order; the ensemble's
            are those of its members.
        build: `(config, shapes: input -> shape of a step, num_classes,
            use_cudnn) -> keras.Model`; None for the ensemble.
        encoder_units: F, the system's own.
        rnn_units: H, the system's own.
        cascade: Whether it has an attention and a seeding that can be cut.
        training: `gradient`, or what is computed without one: `mapping`,
            `prior`, `members`.
        paper: What the paper reports, or None.
    """

    id: str
    title: str
    inputs: tuple[str, ...]
    build: Callable[..., keras.Model] | None
    encoder_units: int = 0
    rnn_units: int = 0
    cascade: bool = False
    training: str = "gradient"
    paper: Paper | None = None


def _specs(config, shapes, stacks) -> list[StreamSpec]:
    """Turns `(stream, encoded, layers)` into the specs of a network."""
    return [
        StreamSpec(
            name,
            shapes[f"{name}_features"][0],
            config.encoder_units if encoded else 0,
            layers,
        )
        for name, encoded, layers in stacks
    ]


def _recurrent(network, *stacks):
    """Returns a builder of a recurrent network of `(stream, encoded, layers)`.

    Args:
        network: `CascadeRNN`, `ParallelRNN` or `ConcatenatedRNN`.
        *stacks: Its streams.
    """

    def build(config, shapes, num_classes, use_cudnn):
        cuts = {}
        if network is CascadeRNN:
            cuts = {"attention": config.attention, "seeding": config.seeding}
        return network(
            _specs(config, shapes, stacks),
            units=config.rnn_units,
            num_classes=num_classes,
            dropout=config.dropout,
            use_cudnn=use_cudnn,
            **cuts,
        )

    return build


def _cnn_2d3d(config, shapes, num_classes, _):
    return CNN2D3D(
        shapes["face_maps"],
        num_classes,
        filters=config.conv_filters,
        bins=config.time_bins,
        dropout=config.dropout,
    )


def _face_average(_, shapes, num_classes, __):
    return FaceAverage(shapes["face_probabilities"][0], num_classes)


def _majority(_, __, num_classes, ___):
    return Majority(num_classes)


_BOTH = ("face_features", "context_features")
_CONTEXT_FIRST = ("context_features", "face_features")

SYSTEMS = {
    s.id: s
    for s in (
        System(
            "face_rnn",
            "Face-RNN",
            ("face_features",),
            _recurrent(CascadeRNN, ("face", True, 2)),
            256,
            256,
            paper=Paper("1.58M", 38.87, 52.72, "I"),
        ),
        System(
            "context_rnn",
            "Context-RNN",
            ("context_features",),
            _recurrent(CascadeRNN, ("context", True, 2)),
            256,
            256,
            paper=Paper("1.19M", 28.74, 37.68, "I"),
        ),
        System(
            "parallel_rnn",
            "Parallel-RNN",
            _BOTH,
            _recurrent(ParallelRNN, ("face", True, 2), ("context", True, 2)),
            128,
            128,
            paper=Paper("0.86M", 40.44, 54.30, "I"),
        ),
        System(
            "concatenated_rnn",
            "Concatenated-RNN",
            _BOTH,
            _recurrent(
                ConcatenatedRNN, ("face", True, 2), ("context", True, 2)
            ),
            128,
            256,
            paper=Paper("1.38M", 39.78, 54.15, "I"),
        ),
        System(
            "caca_rnn_a",
            "CACA-RNN A",
            _CONTEXT_FIRST,
            _recurrent(CascadeRNN, ("context", True, 2), ("face", True, 1)),
            128,
            128,
            cascade=True,
            paper=Paper("0.79M", 40.73, 53.01, "I"),
        ),
        System(
            "caca_rnn_b",
            "CACA-RNN B",
            _BOTH,
            _recurrent(CascadeRNN, ("face", True, 2), ("context", True, 1)),
            128,
            128,
            cascade=True,
            paper=Paper("0.79M", 39.91, 54.44, "I"),
        ),
        System(
            "caca_rnn_mec2017",
            "CACA-RNN as submitted to MEC 2017",
            _CONTEXT_FIRST,
            # The context's pooled values go in as they are (section V-C).
            _recurrent(CascadeRNN, ("context", False, 1), ("face", True, 2)),
            128,
            128,
            cascade=True,
            paper=Paper(None, 41.53, 51.34, "II"),
        ),
        System("cnn_2d3d", "2D-3D-CNN", ("face_maps",), _cnn_2d3d),
        System(
            ENSEMBLE,
            "Ensemble of CACA-RNN and 2D-3D-CNN",
            (),
            None,
            training="members",
            paper=Paper(None, 52.16, 56.58, "II"),
        ),
        System(
            "face_average",
            "Face classifier, averaged",
            ("face_probabilities",),
            _face_average,
            training="mapping",
        ),
        System(
            "majority",
            "Majority class",
            (),
            _majority,
            training="prior",
        ),
    )
}


def get(system: str) -> System:
    """Returns the system of that id, or raises `ConfigError`."""
    if system not in SYSTEMS:
        raise ConfigError(
            f"`system` must be one of {', '.join(SYSTEMS)}. "
            f"Received: {system!r}"
        )
    return SYSTEMS[system]


def resolve(config: ModelConfig) -> ModelConfig:
    """Puts the system's own sizes where the config has 0.

    Raises:
        ConfigError: There is no such system, it has nothing that could be
            cut, or both parts of its cascade are.
    """
    system = get(config.system)
    for part in ("attention", "seeding"):
        if not (getattr(config, part) or system.cascade):
            raise ConfigError(
                f"config `model.{part}` must be true for {system.id}, which "
                f"has no {part} to cut; there is "
                f"{', '.join(s.id for s in SYSTEMS.values() if s.cascade)}"
            )
    if not (config.attention or config.seeding):
        raise ConfigError(
            "config `model.attention` and `model.seeding` must not both be "
            "false: nothing would be left of the first stream"
        )
    return dataclasses.replace(
        config,
        encoder_units=config.encoder_units or system.encoder_units,
        rnn_units=config.rnn_units or system.rnn_units,
    )


def inputs_of(
    config: ModelConfig, members: Sequence[ModelConfig] = ()
) -> tuple[str, ...]:
    """Returns the inputs of a network, without its mask.

    Args:
        config: Its `system`.
        members: Of an ensemble, its members.
    """
    if config.system != ENSEMBLE:
        return get(config.system).inputs
    found = [name for m in members for name in inputs_of(m)]
    return tuple(dict.fromkeys(found))


def streams_of(inputs: Sequence[str]) -> tuple[str, ...]:
    """Returns the streams of some inputs, in their order.

    What reads none still needs one, to know which steps there are.
    """
    found = [name.partition("_")[0] for name in inputs]
    return tuple(dict.fromkeys(found)) or ("face",)


def build(
    config: ModelConfig,
    shapes: dict[str, tuple[int, ...]],
    num_classes: int,
    use_cudnn: str | bool = "auto",
    members: Sequence[ModelConfig] = (),
) -> keras.Model:
    """Builds the system that `config.system` names.

    Args:
        config: Its `system`, sizes and dropout.
        shapes: Input -> shape of a step, of what the encoders give.
        num_classes: K.
        use_cudnn: See `CascadeRNN`.
        members: Of an ensemble, its members.

    Raises:
        ConfigError: There is no such system, or an ensemble has no members
            or has an ensemble among them.
    """
    config = resolve(config)
    if config.system != ENSEMBLE:
        return SYSTEMS[config.system].build(
            config, shapes, num_classes, use_cudnn
        )
    if not members or any(m.system == ENSEMBLE for m in members):
        raise ConfigError(
            "an ensemble needs members that are no ensembles themselves. "
            f"Received: {', '.join(m.system for m in members) or 'none'}"
        )
    return Ensemble([build(m, shapes, num_classes, use_cudnn) for m in members])
