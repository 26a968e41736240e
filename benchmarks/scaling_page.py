"""The page docs/scaling.md: tables of what `scaling` computed."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence

_INTRO = """\
# Capacity, on paper

What a million clips a day take, and a hundred million. This page is computed
from `benchmarks/results.json` by `python -m benchmarks.scaling`: after another
`make bench`, or with other prices, make it again. No cluster and no GPU was
used: the rates are those of one core of the machine in
[RESULTS.md](../benchmarks/RESULTS.md), and all else is multiplication.

A clip is one person in {frames} frames of 640x360, 4 s at 8 frames a second.
A clip of several people decodes and detects once for all of them, so that it
costs less than this; 1080p costs more to decode.
"""


def render(
    rates: Mapping[str, float],
    figures: Mapping[str, tuple[str, str | None, str, str]],
    assumed: Mapping[str, tuple[float, str, str]],
    needs: Sequence,
    shard_rows: int,
    frames: int = 32,
) -> str:
    """Returns the page.

    Args:
        rates: Measured figures by key.
        figures: See `capacity.FIGURES`.
        assumed: Key -> (value, unit, what it is).
        needs: A `scaling.Need` for each size.
        shard_rows: `data.shard_rows`.
        frames: `clip.clip_frames`.
    """
    parts = [_INTRO.format(frames=frames), "## Measured\n"]
    parts.append(
        _table(
            ("what", "figure"),
            (
                (what, f"{_figure(rates[key])} {unit}")
                for key, (_, _, unit, what) in figures.items()
            ),
        )
    )
    parts.append("## Assumed\n")
    parts.append(
        _table(
            ("what", "value"),
            (
                (f"`{key}`: {what}", _amount(value, unit))
                for key, (value, unit, what) in assumed.items()
            ),
        )
    )
    for found in needs:
        parts += _size(found, shard_rows)
    parts.append(_END)
    return "\n".join(parts)


def _size(found, shard_rows) -> list[str]:
    return [
        f"## {found.clips:,} clips a day\n",
        _table(
            (
                "stage",
                "spread by",
                "core-s a clip",
                "cores",
                "machines",
                "$ a day",
            ),
            (
                (
                    s.what,
                    s.engine,
                    f"{s.core_s:.3g}",
                    _count(s.cores),
                    _count(s.machines),
                    _count(s.dollars),
                )
                for s in found.stages
            ),
        ),
        _paragraph(
            f"Training takes {_count(found.training_hours)} hours on one "
            "machine like the one that was measured. With GPUs for the "
            f"features, {_count(found.gpus)} of the assumed ones would be "
            f"busy, at ${_count(found.gpu_dollars)} a day, instead of the "
            f"cores. There are {found.shards:,} shards of {shard_rows} rows."
        ),
        _paragraph(
            f"Storage: records {_bytes(found.record_gb)} a day, features "
            f"{_bytes(found.feature_gb)}; kept as assumed, they cost "
            f"${_count(found.storage_dollars)} a day. Features alone take "
            f"{found.feature_gb / found.record_gb:.0%} of the space of the "
            "records: keep those, and of the records what may be trained "
            "with another encoder."
        ),
        "What does not fit one machine, or one process, most loaded first:\n",
        _table(
            ("what", "needed", "there is", "load", "then"),
            (
                (
                    limit.what,
                    _amount(limit.needed, limit.unit),
                    _amount(limit.bound, limit.unit),
                    _count(limit.load),
                    limit.remedy if limit.load > 1 else "fits",
                )
                for limit in found.limits
            ),
        ),
        f"**The first bottleneck: {_bottleneck(found.limits)}**\n",
    ]


def _paragraph(text: str) -> str:
    return textwrap.fill(text, 79) + "\n"


def _bottleneck(limits) -> str:
    first = limits[0]
    if first.load <= 1:
        return "none; one machine does it."
    return f"{first.what}, {_count(first.load)} times what there is."


_END = """\
## What is not in these figures

- Getting the videos into the store, and the network between regions.
- Start-up: a Beam worker imports TensorFlow (4 s) once; clips come to it in
  shards, so that this is lost in the utilisation.
- Retries, spot machines that end, and evaluation (minutes a day).
- That several hundred workers write to one bucket prefix: object stores want
  prefixes spread; `Split-*` folders and spans do that by split and day alone.
"""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _amount(value: float, unit: str) -> str:
    if unit == "$":
        return f"${value:.2f}"
    return f"{_count(value)} {unit}".strip()


def _count(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.2g}"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _bytes(gb: float) -> str:
    return f"{gb / 1000:,.3g} TB" if gb >= 1000 else f"{gb:,.3g} GB"
