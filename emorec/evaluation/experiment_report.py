"""The files in which an experiment is told.

    results.md      tables for people, with what must be known to read them
    results.csv     one row a variant; all shares in percent
    results.json    the same with every run
    confusion/<split>/<variant>.png   counts summed over the seeds (Figure 5)
    curves/<variant>.png              loss and accuracy of every seed

Figures are medians over the seeds, with the least and the greatest. What the
paper reports stands in columns of its own, for it was measured on other data.
"""

import csv
import dataclasses
import os
import pathlib

import numpy as np

from emorec.data import files
from emorec.evaluation import charts
from emorec.evaluation.experiment_tables import (
    METRICS,
    PAPER_DATA,
    Row,
    format_markdown,
    rows,
    warnings,
)
from emorec.training.experiment import Results

TABLE = "results.md"
CSV = "results.csv"
JSON = "results.json"


def write(
    results: Results, output_dir: str | os.PathLike | None = None
) -> list[Row]:
    """Writes all files, each one atomically; returns the rows.

    Args:
        results: The results.
        output_dir: The folder; that of the plan by default.

    Raises:
        EmorecError: A file cannot be written.
        ModuleNotFoundError: matplotlib is not installed.
    """
    folder = pathlib.Path(output_dir or results.plan.output_dir)
    found = rows(results)
    drawn = {row.id: _draw(results, row, folder) for row in found}
    _write_csv(folder / CSV, found, results)
    files.write_json(folder / JSON, _json(results, found, folder))
    with files.atomic(folder / TABLE) as temporary:
        text = format_markdown(results, found, drawn)
        temporary.write_text(text, encoding="utf-8")
    return found


def _draw(results, row, folder) -> dict[str, str]:
    """Draws a variant's charts; returns what they show -> path."""
    done, drawn = results.of(row.id), {}
    note = "  ".join(warnings(results.about))
    name = results.about["data"]["name"]
    for split in results.plan.splits if done else ():
        path = f"confusion/{split}/{row.id}.png"
        counts = sum(np.array(r.metrics[split]["confusion"]) for r in done)
        seeds = "1 seed" if len(done) == 1 else f"sum over {len(done)} seeds"
        charts.confusion_matrix(
            folder / path,
            counts,
            done[0].labels,
            f'{row.title}: {split} split of "{name}", {seeds}',
            note,
        )
        drawn[f"confusion, {split}"] = path
    runs = {f"seed {r.seed}": r.history for r in done if r.history}
    if runs:
        path = f"curves/{row.id}.png"
        charts.training_curves(
            folder / path, runs, f'{row.title}: training on "{name}"'
        )
        drawn["training"] = path
    return drawn


def _write_csv(path, found, results):
    names = ["id", "title", "parameters", "seeds", "failed", "not_possible"]
    for split in results.plan.splits:
        for metric in METRICS:
            names += [
                f"{split}_{metric}_percent_{what}"
                for what in ("median", "min", "max")
            ]
    names += [
        "paper_parameters",
        "paper_map_percent",
        "paper_acc_percent",
        "paper_data",
    ]
    with (
        files.atomic(path) as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as f,
    ):
        writer = csv.DictWriter(f, names, lineterminator="\n")
        writer.writeheader()
        for row in found:
            values = {
                "id": row.id,
                "title": row.title,
                "parameters": row.parameters,
                "seeds": row.seeds,
                "failed": row.failed,
                "not_possible": row.reason,
            }
            for (split, metric), spread in row.figures.items():
                for what, value in zip(("median", "min", "max"), spread):
                    name = f"{split}_{metric}_percent_{what}"
                    values[name] = f"{value:.8g}"
            if row.paper:
                values |= {
                    "paper_parameters": row.paper.params,
                    "paper_map_percent": f"{row.paper.map:.2f}",
                    "paper_acc_percent": f"{row.paper.acc:.2f}",
                    "paper_data": f"{PAPER_DATA}, Table {row.paper.table}",
                }
            writer.writerow(values)


def _json(results, found, folder) -> dict:
    runs = []
    for record in results.records:
        values = dataclasses.asdict(record)
        del values["history"]
        values["folder"] = os.path.relpath(record.folder, folder)
        runs.append(values)
    return {
        **results.about,
        "warnings": warnings(results.about),
        "variants": [
            {
                **dataclasses.asdict(row),
                "paper": row.paper and dataclasses.asdict(row.paper),
                "figures": {
                    split: {
                        metric: dict(
                            zip(
                                ("median", "min", "max"),
                                row.figures[split, metric],
                            )
                        )
                        for metric in METRICS
                    }
                    for split in results.plan.splits
                    if row.figures
                },
            }
            for row in found
        ],
        "runs": runs,
    }
