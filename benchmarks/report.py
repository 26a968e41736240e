"""The table: on the terminal, as JSON, as Markdown."""

import json
import os
import pathlib
import platform
import tempfile
from collections.abc import Mapping, Sequence

from benchmarks.rows import Row


def machine() -> dict:
    """Describes the machine: processor, cores, memory, system."""
    cpu, flags = platform.processor() or "unknown", ""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            parts = (line.partition(":") for line in f)
            lines = {k.strip(): v.strip() for k, _, v in parts}
        cpu, flags = lines.get("model name", cpu), lines.get("flags", "")
    except OSError:
        pass  # Not Linux: what `platform` says.
    known = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(pages / 2**30, 1),
        "instructions": [f for f in known if f in flags.split()],
        "system": platform.platform(),
        "load": os.getloadavg()[0],
    }


def figure(value: float | None) -> str:
    """Returns a figure with three digits that matter, or a dash."""
    if value is None:
        return "-"
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    digits = 3 if abs(value) < 0.1 else 2 if abs(value) < 10 else 1
    return f"{value:.{digits}g}" if abs(value) < 0.1 else f"{value:.{digits}f}"


def verdict(row: Row) -> str:
    """Returns the goal and whether it is reached, or nothing."""
    if row.goal is None:
        return ""
    states = {True: "met", False: "not met", None: "not run"}
    return f"{row.goal:g}: {states[row.met]}"


def line(row: Row) -> str:
    """Returns a row in one line, for the terminal."""
    text = f"{row.name}: {figure(row.ours)} {row.unit}"
    if row.peer is not None:
        text += f", {row.peer_name}: {figure(row.peer)}"
    if row.ratio is not None:
        text += f", ratio {figure(row.ratio)}"
    if row.goal is not None:
        text += f" (goal {verdict(row)})"
    return f"{text} [{row.reason}]" if row.reason else text


def table(rows: Sequence[Row]) -> str:
    """Returns the rows in columns, for the terminal."""
    cells = [("what", "unit", "ours", "peer", "ratio", "goal")]
    for row in rows:
        cells.append(
            (
                row.name,
                row.unit,
                figure(row.ours),
                figure(row.peer),
                figure(row.ratio),
                verdict(row),
            )
        )
    widths = [max(map(len, column)) for column in zip(*cells)]
    return "\n".join(
        "  ".join(
            text.rjust(width) if 2 <= i <= 4 else text.ljust(width)
            for i, (text, width) in enumerate(zip(one, widths))
        ).rstrip()
        for one in cells
    )


def markdown(
    rows: Sequence[Row], facts: Mapping, versions: Mapping[str, Mapping]
) -> str:
    """Returns `RESULTS.md`.

    Args:
        rows: All rows, in order.
        facts: What was run where, and when: title and text.
        versions: Of packages, by environment.
    """
    parts = [
        "# What was measured",
        "Written by `make bench`; do not edit. Medians of rounds in turn, after"
        " a warm-up; ratios above 1: emorec is better. `±` is half of the"
        " interquartile range. Trust ratios, not times.",
        "\n".join(f"- {name}: {text}" for name, text in facts.items()),
        "## Versions",
        _versions(versions),
        "## Table",
        _rows(rows),
    ]
    shares = _shares(rows)
    if shares:
        parts += ["## Each stage's share of a prediction", shares]
    missing = [r for r in rows if r.ratio is None and r.peer_name]
    if missing:
        parts += [
            "## What has no ratio, and why",
            "\n".join(f"- {r.name}: {r.reason}" for r in missing),
        ]
    details = [r for r in rows if r.detail]
    if details:
        parts += [
            "## Details",
            "\n".join(
                f"- {r.name}: `{json.dumps(r.detail, ensure_ascii=False)}`"
                for r in details
            ),
        ]
    return "\n\n".join(parts) + "\n"


def _versions(versions) -> str:
    lines = []
    for venv, found in versions.items():
        names = (f"{name} {number}" for name, number in sorted(found.items()))
        lines.append(f"- {venv}: {', '.join(names)}")
    return "\n".join(lines) or "- none were loaded"


def _rows(rows) -> str:
    lines = [
        "| what | unit | ours | peer | | ratio | goal |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [
            row.name,
            row.unit,
            _with_spread(row, "ours", row.ours),
            _with_spread(row, "peer", row.peer),
            row.peer_name or "",
            figure(row.ratio),
            verdict(row),
        ]
        lines.append(
            "| " + " | ".join(c.replace("|", "/") for c in cells) + " |"
        )
    return "\n".join(lines)


def _with_spread(row, side, value) -> str:
    found = row.spread.get(side)
    if value is None or not found or row.spread.get("rounds", 1) < 2:
        return figure(value)
    return f"{figure(value)} ± {figure(found['iqr'] / 2)}"


def _shares(rows) -> str:
    for row in rows:
        shares = row.detail.get("share_of_wall_time")
        if isinstance(shares, dict):
            names = " | ".join(shares)
            values = " | ".join(f"{100 * v:.1f} %" for v in shares.values())
            rule = "|".join(["---"] * len(shares))
            return f"| {names} |\n|{rule}|\n| {values} |"
    return ""


def write(path: pathlib.Path, text: str) -> None:
    """Writes a file at once, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, delete=False, encoding="utf-8"
    ) as f:
        f.write(text)
    os.chmod(f.name, 0o644)
    os.replace(f.name, path)


def as_json(rows: Sequence[Row]) -> str:
    """Returns `results.json`: a list of objects."""
    values = [row.to_dict() for row in rows]
    return json.dumps(values, indent=1, ensure_ascii=False) + "\n"
