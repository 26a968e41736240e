"""Runs ClipExampleGen's executor alone, as TFX would."""

import csv
import json
import pathlib

from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import artifact_utils, standard_artifacts

from emorec.data import files
from tfx_pipeline import artifacts
from tfx_pipeline.components.clip_example_gen import ClipExampleGen
from tfx_pipeline.components.clip_example_gen_driver import (
    ClipExampleGenDriver,
)
from tfx_pipeline.components.clip_example_gen_executor import (
    ClipExampleGenExecutor,
)

COLUMNS = ("video", "label", "split")


def rows_of(sample_set, **wanted) -> list[dict]:
    """The sample set's rows with absolute paths, picked by column."""
    folder = pathlib.Path(sample_set).parent
    with open(sample_set, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    picked = [r for r in rows if all(r[k] in v for k, v in wanted.items())]
    return [{**r, "video": str(folder / r["video"])} for r in picked]


def few_rows(sample_set) -> list[dict]:
    """Six rows of two labels: four to train, one each to measure."""
    labels = ("happy", "sad")
    train = rows_of(sample_set, split=["train"], label=labels)
    rest = [
        rows_of(sample_set, split=[split], label=["happy"])[0]
        for split in ("validation", "test")
    ]
    return [*train[:4], *rest]


def write_manifest(path, rows) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for row in rows:
            writer.writerow({k: row[k] for k in COLUMNS})
    return path


class Run:
    """An execution: its artifacts, and what is in them.

    Args:
        root: The folder that holds all executions' artifacts.
        execution: Its number.
        properties: Exec properties, through the driver or not.
        beam_pipeline_args: Beam's flags.
    """

    def __init__(self, root, execution, properties, beam_pipeline_args=()):
        self.properties = properties
        self.context = BaseBeamExecutor.Context(
            beam_pipeline_args=list(beam_pipeline_args)
        )
        self.examples = standard_artifacts.Examples()
        self.letters = artifacts.DeadLetters()
        for artifact, key in (
            (self.examples, "examples"),
            (self.letters, "dead_letters"),
        ):
            artifact.uri = f"{root}/ClipExampleGen/{key}/{execution}"
            files.makedirs(artifact.uri)

    def do(self):
        executor = ClipExampleGenExecutor(self.context)
        outputs = {"examples": [self.examples], "dead_letters": [self.letters]}
        executor.Do({}, outputs, dict(self.properties))
        return self

    @property
    def folder(self) -> pathlib.Path:
        return pathlib.Path(self.examples.uri)

    @property
    def splits(self) -> set[str]:
        names = artifact_utils.decode_split_names(self.examples.split_names)
        return set(names)

    @property
    def data(self) -> dict:
        return json.loads((self.folder / "dataset.json").read_text())

    @property
    def failed(self) -> tuple[int, int]:
        """Rows that could not be read, and all rows."""
        names = ("failed", "rows")
        return tuple(map(self.letters.get_int_custom_property, names))

    @property
    def dead(self) -> list[dict]:
        path = pathlib.Path(self.letters.uri) / "failures.csv"
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))


def driven(**arguments) -> dict:
    """Returns a component's exec properties, with what its driver adds."""
    properties = dict(ClipExampleGen(**arguments).exec_properties)
    driver = ClipExampleGenDriver(None)
    return driver.resolve_exec_properties(properties, None, None)


def run(root, execution=1, **arguments) -> Run:
    """Driver and executor of a component with these arguments."""
    return Run(root, execution, driven(**arguments)).do()
