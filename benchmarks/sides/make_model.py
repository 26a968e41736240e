"""Trains the small model that the suite predicts with; nothing is timed."""

import csv
import pathlib
from collections.abc import Callable

SPLITS = ("train", "train", "train", "validation", "test")


def prepare(args: dict) -> Callable[[], dict]:
    """Trains a CACA-RNN A at the paper's sizes.

    Args:
        args: `folder`, where model and data go; `labels`, a CSV of `video`
            and `label` beside its videos, or None; `sample`, the folder of
            the sample set, which is written where it is not there yet.
    """
    from emorec.data import manifest, prepare, sample
    from emorec.features import encoder
    from emorec.features.encoders import Encoders
    from emorec.training import train

    folder = pathlib.Path(args["folder"])
    folder.mkdir(parents=True, exist_ok=True)

    def encoders():
        names = ("mini_xception", "squeezenet")
        return Encoders(
            *(
                encoder.create(name, allow_random=True, download=False)
                for name in names
            )
        )

    def run() -> dict:
        from emorec.config import Config

        made = encoders()
        if args["labels"] is None:
            path = sample.write_sample_set(
                args["sample"], identities=4, seconds=3.0
            )
        else:
            path = _with_splits(pathlib.Path(args["labels"]), folder)
        data = prepare.prepare(
            manifest.read(str(path), "auto"),
            folder / "data",
            Config(),
            overwrite=True,
        )
        config = train.training_config(
            data, "caca_rnn_a", ["train.epochs=20", "train.batch_size=8"]
        )
        train.train(data, folder / "model", config, made, overwrite=True)
        return {"units": 1, "detail": {"random": made.random_weights}}

    return run


def _with_splits(labels: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """Writes a manifest of the labelled clips with a split for each."""
    with open(labels, newline="", encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    made = folder / "manifest.csv"
    with open(made, "w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f)
        writer.writerow(["video", "label", "split"])
        for i, row in enumerate(rows):
            video = (labels.parent / row["video"]).resolve()
            writer.writerow([video, row["label"], SPLITS[i % len(SPLITS)]])
    return made
