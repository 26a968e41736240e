"""What answers for a trained model: its networks as graphs, without Keras."""

import dataclasses
import os
import pathlib

from emorec.config import Config
from emorec.data import files
from emorec.errors import EmorecError
from emorec.features import encoders, graph_cache
from emorec.labels import LabelSet

# The name of the recurrent network's graph; an encoder's is its stream's.
NETWORK = "network"


@dataclasses.dataclass(frozen=True)
class Graphs:
    """A model's networks as `emorec.features.frozen` runs them.

    Attributes:
        description: `Bundle.describe()`.
        config: The config in it.
        labels: The label set in it.
        networks: A serialized GraphDef for each stream's encoder and for
            `NETWORK`.
    """

    description: dict
    config: Config
    labels: LabelSet
    networks: dict

    def with_bfloat16(self, choice: str) -> "Graphs":
        """Returns the same with another `features.bfloat16`.

        Raises:
            ConfigError: There is no such choice.
        """
        field = f"features.bfloat16={choice}"
        return dataclasses.replace(self, config=self.config.override([field]))


def of(bundle) -> Graphs:
    """Makes the graphs of a `emorec.training.bundle.Bundle`.

    On any device they are those that a CPU can run.
    """
    from emorec.features import frozen
    from emorec.models import presets

    plain = presets.build(
        bundle.config.model,
        bundle.encoders.shapes,
        len(bundle.labels),
        False,
        bundle.members,
    )
    plain.set_weights(bundle.model.get_weights())
    networks = {NETWORK: frozen.graph_of(plain)}
    for stream, encoder in bundle.encoders.items():
        kinds = encoders.kinds_of(bundle.inputs, stream)
        networks[stream] = frozen.graph_of(encoder.part(*kinds))
    return Graphs(bundle.describe(), bundle.config, bundle.labels, networks)


def is_kept(folder: str | os.PathLike) -> bool:
    """Says whether `load` needs no Keras; imports no TensorFlow."""
    found = _known(folder)
    return found is not None and graph_cache.has(found[0], found[1])


def load(folder: str | os.PathLike) -> Graphs:
    """Reads a model folder, or the graphs kept of it.

    Raises:
        ModelError: See `emorec.training.bundle.load`.
    """
    found = _known(folder)
    if found is not None:
        key, names, description = found
        networks = graph_cache.read(key, names)
        if networks is not None:
            return Graphs(
                description,
                Config.from_dict(description["config"]),
                LabelSet.from_dict(description["labels"]),
                networks,
            )

    from emorec.training import bundle

    made = of(bundle.load(folder))
    if found is not None:
        graph_cache.write(found[0], made.networks)
    return made


def _known(folder) -> tuple[str, list[str], dict] | None:
    """Returns the key, the names and the description of a local folder.

    None where it is not one that looks complete: `bundle.load` tells why.
    """
    if files.is_remote(folder):
        return None
    folder = pathlib.Path(folder)
    try:
        values = files.read_json(folder / "model.json", "model", "train one")
        parts = sorted(p for p in folder.rglob("encoders/**/*") if p.is_file())
        names = [NETWORK, *values["streams"]]
        key = graph_cache.key_of(values, [folder / "model.weights.h5", *parts])
    except (EmorecError, OSError, KeyError, TypeError):
        return None
    del values["weights_sha256"]
    return key, names, values
