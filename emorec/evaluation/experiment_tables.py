"""The tables of an experiment, for people.

Figures are medians over the seeds, with the least and the greatest. What the
paper reports stands in columns of its own, for it was measured on other data.
"""

import dataclasses
import statistics
from collections.abc import Iterator, Mapping, Sequence

from emorec.data import planted, sample_plan
from emorec.evaluation.metrics import TITLES
from emorec.models import presets
from emorec.training.experiment import Results, Variant
from emorec.training.experiment_run import FAILED, NOT_POSSIBLE

# Of `evaluation.metrics.Metrics`, in the order of the columns.
METRICS = ("map", "acc", "ranking_map", "macro_f1", "uar")
# The only split that the paper's figures are shown for, and of which data.
PAPER_SPLIT = "validation"
PAPER_DATA = "CHEAVD 2.0 validation"
SANITY = (
    "The data hold emorec's sample set: a sanity set of generated videos, "
    "not emotion. Its figures show that the software works, no more."
)
_PAPER_PARAMS = "the paper reports: parameters"
_PAPER_FIGURES = f"the paper reports: MAP / ACC, % ({PAPER_DATA})"
_VALIDATION = (
    "Training chose each run's epoch, and an ensemble's weights, on this "
    "split: its figures flatter."
)
_CUT_TITLES = {
    "no_attention": "without attention",
    "no_seeding": "without seeding",
}


@dataclasses.dataclass(frozen=True)
class Row:
    """One variant.

    Attributes:
        id: Its id.
        title: Its name for people.
        parameters: Of its network; None where no run is done.
        seeds: Runs that are done.
        failed: Runs that failed.
        reason: Why it is not possible, or None.
        figures: (split, metric) -> (median, least, greatest) in percent.
        paper: What the paper reports of it, or None.
        notes: What must be said with its answers.
    """

    id: str
    title: str
    parameters: int | None
    seeds: int
    failed: int
    reason: str | None
    figures: dict[tuple[str, str], tuple[float, float, float]]
    paper: presets.Paper | None
    notes: tuple[str, ...]


def rows(results: Results) -> list[Row]:
    """Returns a row for each variant."""
    found = []
    for variant in results.plan.variants:
        done = results.of(variant.id)
        impossible = results.of(variant.id, NOT_POSSIBLE)
        figures = {}
        for split in results.plan.splits if done else ():
            for metric in METRICS:
                values = [100 * r.metrics[split][metric] for r in done]
                figures[split, metric] = (
                    statistics.median(values),
                    min(values),
                    max(values),
                )
        notes = dict.fromkeys(note for r in done for note in r.notes)
        found.append(
            Row(
                id=variant.id,
                title=title_of(variant, results.plan.members),
                parameters=done[0].parameters if done else None,
                seeds=len(done),
                failed=len(results.of(variant.id, FAILED)),
                reason=impossible[0].error if impossible else None,
                figures=figures,
                paper=_paper_of(variant, results.plan.members),
                notes=tuple(notes),
            )
        )
    return found


def title_of(variant: Variant, members: Sequence[str]) -> str:
    """Returns a variant's name for people."""
    title = presets.get(variant.system).title
    is_ensemble = variant.system == presets.ENSEMBLE
    if is_ensemble and tuple(members) != presets.PAPER_MEMBERS:
        names = [presets.get(m).title for m in members]
        title = f"Ensemble of {', '.join(names)}"
    _, _, cut = variant.id.partition(".")
    return f"{title} {_CUT_TITLES.get(cut, cut)}".strip()


def _paper_of(variant, members) -> presets.Paper | None:
    """The paper's figures belong to its own systems, with nothing cut."""
    if variant.assignments:
        return None
    is_ensemble = variant.system == presets.ENSEMBLE
    if is_ensemble and tuple(members) != presets.PAPER_MEMBERS:
        return None
    return presets.get(variant.system).paper


def warnings(about: dict) -> list[str]:
    """Returns what must be said above all figures of an experiment."""
    found = list(about["notes"])
    if planted.SOURCE in about["data"]["sources"]:
        found.append(
            "The data hold emorec's planted task: made-up features, not "
            "emotion. What the paper reports is of other data."
        )
    if sample_plan.SOURCE in about["data"]["sources"]:
        found.append(SANITY)
    if about["random_weights"]:
        streams = " and ".join(about["random_weights"])
        found.append(
            f"The {streams} encoder has RANDOM frozen weights: its published "
            "ones were not found. These figures say nothing about emotion."
        )
    return found


def format_markdown(
    results: Results,
    found: Sequence[Row],
    drawn: Mapping[str, Mapping[str, str]],
) -> str:
    """Returns the tables with their header, as Markdown.

    Args:
        results: The results.
        found: Of `rows`.
        drawn: Variant -> what a chart shows -> its path.
    """
    lines = [f"# Experiment on {results.about['data']['name']}", ""]
    for text in warnings(results.about):
        lines += [f"**{text}**", ""]
    lines += [f"- {text}" for text in _header(results.about)]
    for split in results.plan.splits:
        lines += [
            "",
            f"## The {split} split",
            "",
            "In percent: the median over the seeds (least to greatest).",
            "",
            *_markdown(_split_table(split, found)),
        ]
        if split == "validation":
            lines += ["", _VALIDATION]
        if split == PAPER_SPLIT and any(row.paper for row in found):
            lines += [
                "",
                f"What the paper reports is of {PAPER_DATA}, and"
                " not of these data.",
            ]
    for title, items in _remarks(results, found):
        if items:
            lines += ["", f"## {title}", "", *(f"- {i}" for i in items)]
    if any(drawn.values()):
        lines += ["", "## Charts", "", *_markdown(_chart_table(drawn))]
    return "\n".join(lines) + "\n"


def _header(about) -> list[str]:
    data = about["data"]
    sources = ", ".join(f"{s} ({n} rows)" for s, n in data["sources"].items())
    labels = data["labels"]
    found = [
        f"Data set: {data['name']}, fingerprint {data['fingerprint']}; "
        f"sources: {sources}",
        f"Labels: {labels['name']} ({', '.join(labels['names'])})",
    ]
    for split, values in data["splits"].items():
        found.append(
            f"{split}: {values['rows']} videos, a face in "
            f"{values['frames_with_face_share']:.1%} of the sampled frames"
        )
    if data["unreadable_videos"]:
        found.append(
            f"{data['unreadable_videos']} videos could not be read and are in "
            "no figure"
        )
    seeds = about["seeds"]
    found.append(
        f"Seeds: {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else "Seeds: 0"
    )
    for stream, values in about["encoders"].items():
        found.append(
            f"{stream.capitalize()} encoder: {values['id']} "
            f"({values['name']}), {values['hash']}"
        )
    found.append(f"Settings: {', '.join(about['settings']) or 'the defaults'}")
    return found


def _split_table(split, found) -> list[tuple[str, ...]]:
    heads = ["id", "system", "parameters", "seeds"]
    heads += [TITLES[metric] for metric in METRICS]
    has_paper = split == PAPER_SPLIT and any(row.paper for row in found)
    if has_paper:
        heads += [_PAPER_PARAMS, _PAPER_FIGURES]
    table = [tuple(heads)]
    for row in found:
        cells = [f"`{row.id}`", row.title, _count(row.parameters), seeds(row)]
        cells += [spread(row.figures.get((split, m))) for m in METRICS]
        if has_paper:
            paper = row.paper
            cells += [
                (paper and paper.params) or "-",
                f"{paper.map:.2f} / {paper.acc:.2f} (Table {paper.table})"
                if paper
                else "-",
            ]
        table.append(tuple(cells))
    return table


def _remarks(results, found) -> Iterator[tuple[str, list[str]]]:
    """Yields a heading, and what is to be said under it."""
    yield (
        "Not possible",
        [f"`{row.id}`: {row.reason}" for row in found if row.reason],
    )
    yield (
        "Failed runs",
        [
            f"`{r.variant}`, seed {r.seed}: {r.error}"
            for r in results.with_status(FAILED)
        ],
    )
    yield (
        "Notes",
        [f"`{row.id}`: {note}" for row in found for note in row.notes],
    )


def _chart_table(drawn) -> list[tuple[str, ...]]:
    shown = list(dict.fromkeys(what for of in drawn.values() for what in of))
    table = [("id", *shown)]
    for id_, of in drawn.items():
        cells = [f"[png]({of[what]})" if what in of else "-" for what in shown]
        table.append((f"`{id_}`", *cells))
    return table


def seeds(row: Row) -> str:
    """Says how many runs a row's figures are of."""
    if row.reason:
        return "not possible"
    return (
        f"{row.seeds} ({row.failed} failed)" if row.failed else f"{row.seeds}"
    )


def spread(figures: tuple[float, float, float] | None) -> str:
    """Writes a median with its least and greatest value."""
    if figures is None:
        return "-"
    median, low, high = (f"{value:.2f}" for value in figures)
    return median if low == high else f"{median} ({low} to {high})"


def _count(parameters: int | None) -> str:
    return "-" if parameters is None else f"{parameters:,}"


def format_table(found: Sequence[Row], split: str) -> str:
    """Returns MAP and ACC of a split as aligned text for a terminal."""
    shown = ("map", "acc")
    table = [("system", "parameters", "seeds", *(TITLES[m] for m in shown))]
    for row in found:
        figures = [spread(row.figures.get((split, m))) for m in shown]
        table.append((row.id, _count(row.parameters), seeds(row), *figures))
    lines = [f"{split}, in percent: median over seeds (least to greatest)"]
    for cells in _aligned(table):
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _markdown(table) -> list[str]:
    first, *others = [f"| {' | '.join(cells)} |" for cells in _aligned(table)]
    rule = "|".join("-" * (len(cell)) for cell in first[1:-1].split("|"))
    return [first, f"|{rule}|", *others]


def _aligned(table) -> list[list[str]]:
    """Pads each column to one width."""
    widths = [max(map(len, column)) for column in zip(*table)]
    return [
        [cell.ljust(width) for cell, width in zip(row, widths)] for row in table
    ]
