"""emorec models: the systems with their sizes.

  emorec models

Parameters are counted on the networks as they are built at the paper's sizes:
face features of 2048, context features of 512, 8 classes.
"""

from absl import flags

from emorec.cli import options
from emorec.config import ModelConfig

FLAGS = flags.FlagValues()
_JSON = flags.DEFINE_bool(
    "json", False, "Print JSON instead of a table.", flag_values=FLAGS
)


def main(args: list[str]) -> int:
    options.no_arguments(args)
    import json

    from emorec.models import presets

    sizes = {
        "face": presets.PAPER_FACE_SIZE,
        "context": presets.PAPER_CONTEXT_SIZE,
    }
    rows = []
    for system in presets.SYSTEMS.values():
        config = ModelConfig(system=system.id)
        model = presets.build(config, sizes, presets.PAPER_CLASSES)
        rows.append(
            {
                "system": system.id,
                "name": system.title,
                "streams": list(system.streams),
                "encoder_units": config.encoder_units,
                "rnn_units": config.rnn_units,
                "parameters": model.count_params(),
                "paper_reports": system.paper_params,
            }
        )
    if _JSON.value:
        print(json.dumps(rows, indent=2))
        return 0
    cells = [
        ("system", "name", "streams", "F", "H", "parameters", "paper reports")
    ]
    cells += [
        (
            r["system"],
            r["name"],
            " > ".join(r["streams"]),
            str(r["encoder_units"]),
            str(r["rnn_units"]),
            f"{r['parameters']:,}",
            r["paper_reports"] or "-",
        )
        for r in rows
    ]
    widths = [max(map(len, column)) for column in zip(*cells)]
    for row in cells:
        print("  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip())
    return 0
