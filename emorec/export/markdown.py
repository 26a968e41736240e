"""Markdown of values that others chose: sources, labels, names of files."""

from collections.abc import Iterable, Sequence

# What would begin a cell, a link, an emphasis, code or HTML.
_ESCAPES = {c: f"\\{c}" for c in "\\`*[]|"} | {"<": "&lt;", "&": "&amp;"}
_MAX_CHARACTERS = 120
UNKNOWN = "not recorded"


def text(value: object) -> str:
    """Returns a value on one line, shown as it is written.

    What cannot be printed becomes `?`; what is long loses its end. None and
    "" are said to be not recorded.
    """
    words = " ".join(str("" if value is None else value).split())
    clean = "".join(c if c.isprintable() else "?" for c in words)
    if len(clean) > _MAX_CHARACTERS:
        clean = clean[: _MAX_CHARACTERS - 1] + "…"
    return "".join(_ESCAPES.get(c, c) for c in clean) or UNKNOWN


def percent(share: float | None) -> str:
    """Returns a share of 0 to 1 in percent; a dash where there is none."""
    return "-" if share is None else f"{100 * share:.1f} %"


def table(
    heads: Sequence[str], rows: Iterable[Sequence[object]], words: int = 1
) -> str:
    """Returns a table.

    Args:
        heads: The columns' names.
        rows: Cells that are Markdown already: see `text`.
        words: How many columns hold words, to the left; then come numbers.
    """
    rule = [":---"] * words + ["---:"] * (len(heads) - words)
    lines = [heads, rule, *([str(c) for c in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Returns names and values, Markdown already, as a table of two columns."""
    return table(("fact", "value"), pairs, words=2)


def page(title: str, parts: Iterable[str]) -> str:
    """Returns a page of paragraphs; empty ones are left out."""
    return "\n\n".join([f"# {title}", *(p for p in parts if p)]) + "\n"
