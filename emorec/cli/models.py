"""emorec models: the systems with their sizes.

  emorec models

Parameters are counted on the networks as they are built at the paper's sizes:
face features of 2048, context features of 512, maps of 2048 channels, a face
classifier of 7 classes, 8 labels.
"""

import dataclasses

from absl import flags

from emorec.cli import options
from emorec.config import ModelConfig

FLAGS = flags.FlagValues()
_JSON = flags.DEFINE_bool(
    "json", False, "Print JSON instead of a table.", flag_values=FLAGS
)
# Of the streams: in a cascade their order counts.
_SEPARATORS = {True: " > ", False: " + "}


def _row(system) -> dict:
    """Returns what is to be said of one system."""
    from emorec.models import presets

    config = presets.resolve(ModelConfig(system=system.id))
    members = []
    if system.id == presets.ENSEMBLE:
        members = [
            presets.resolve(ModelConfig(m)) for m in presets.PAPER_MEMBERS
        ]
    model = presets.build(
        config, presets.PAPER_SHAPES, presets.PAPER_CLASSES, members=members
    )
    inputs = presets.inputs_of(config, members)
    return {
        "system": system.id,
        "name": system.title,
        "inputs": list(inputs),
        "streams": list(presets.streams_of(inputs)) if inputs else [],
        "cascade": "attention" in model.output,
        "sizes": _sizes(config, members),
        "parameters": model.count_params(),
        "paper_reports": dataclasses.asdict(system.paper)
        if system.paper
        else None,
    }


def _sizes(config, members) -> str:
    """Returns the sizes that decide a network, in words."""
    if members:
        return " + ".join(m.system for m in members)
    if config.rnn_units:
        return f"F {config.encoder_units}, H {config.rnn_units}"
    if config.system == "cnn_2d3d":
        return f"{config.conv_filters} filters, {config.time_bins} bins"
    return "-"


def _paper(reports) -> tuple[str, str]:
    """Returns the paper's parameters, and its MAP and ACC in %."""
    if reports is None:
        return "-", "-"
    return (
        reports["params"] or "-",
        f"{reports['map']:.2f} / {reports['acc']:.2f}",
    )


def main(args: list[str]) -> int:
    options.no_arguments(args)
    import json

    from emorec.models import presets

    rows = [_row(system) for system in presets.SYSTEMS.values()]
    if _JSON.value:
        print(json.dumps(rows, indent=2))
        return 0
    cells = [
        (
            "system",
            "name",
            "streams",
            "sizes",
            "parameters",
            "the paper",
            "MAP / ACC",
        )
    ]
    cells += [
        (
            r["system"],
            r["name"],
            _SEPARATORS[r["cascade"]].join(r["streams"]) or "-",
            r["sizes"],
            f"{r['parameters']:,}",
            *_paper(r["paper_reports"]),
        )
        for r in rows
    ]
    widths = [max(map(len, column)) for column in zip(*cells)]
    for row in cells:
        print("  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip())
    print(
        "\nthe paper: parameters (Table I), and MAP / ACC in % that it reports "
        "on the\nvalidation set of CHEAVD 2.0 (Tables I and II); not measured "
        "here"
    )
    return 0
