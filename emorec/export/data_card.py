"""The data card: what a model was trained on, as far as it was recorded."""

from collections.abc import Mapping
from typing import Any

from emorec.export import card_texts
from emorec.export import markdown as md
from emorec.export.model_card import TOYS

# A manifest may name any number of sources.
_MAX_SOURCES = 100
_ORDER = {"train": 0, "validation": 1, "test": 2}


def text(description: Mapping[str, Any]) -> str:
    """Returns the card.

    Args:
        description: `Bundle.describe()`.
    """
    data = description["info"].get("data") or {}
    fingerprint = md.text(data.get("fingerprint"))
    return md.page(
        f"Data card: data set {fingerprint}",
        [
            _warnings(data),
            f"What the run {md.text(description['info'].get('run'))} of the "
            f"system {md.text(description['system'])} was trained and chosen "
            "on. The fingerprint names rows, labels and contents of the "
            "videos.",
            _splits(description, data),
            _sources(description, data),
            _preparation(description),
            card_texts.HOLDS,
            card_texts.TO_ADD,
        ],
    )


def _warnings(data) -> str:
    return "\n>\n".join(
        f"> **{md.text(source)}** is {what}; not emotion."
        for source, what in TOYS.items()
        if source in (data.get("sources") or {})
    )


def _splits(description, data) -> str:
    rows, labels = data.get("rows") or {}, data.get("labels") or {}
    coverage = data.get("coverage") or {}
    names = sorted(rows, key=lambda s: (_ORDER.get(s, len(_ORDER)), s))
    body = [
        (
            md.text(label),
            *(labels.get(s, {}).get(label, "-") for s in names),
        )
        for label in description["labels"]["names"]
        if labels
    ]
    body.append(("**all rows**", *(rows[s] for s in names)))
    if coverage:
        shares = [md.percent(coverage.get(s)) for s in names]
        body.append(("frames with a face", *shares))
    head = "## Splits\n\nRows of the manifest: one video, or a part of one.\n\n"
    lost = data.get("unreadable")
    tail = (
        f"{lost} more could not be read and are in no count."
        if lost is not None
        else "Counts of labels and faces were not recorded by the emorec that "
        "trained this model."
    )
    table = md.table(["label", *map(md.text, names)], body)
    return f"{head}{table}\n\n{tail}"


def _sources(description, data) -> str:
    sources = data.get("sources") or {}
    shown = sorted(sources.items(), key=lambda s: (-s[1], s[0]))
    rows = [
        (md.text(name or "(unnamed)"), count)
        for name, count in shown[:_MAX_SOURCES]
    ]
    left = len(shown) - len(rows)
    more = f"\n\n{left} smaller sources are left out." if left else ""
    weights = description["config"]["train"].get("source_weights")
    if weights:
        more += f"\n\nWeights in training: {md.text(weights)}."
    return f"## Sources\n\n{md.table(('source', 'rows'), rows)}{more}"


def _preparation(description) -> str:
    config = description["config"]
    video, clip = config["video"], config["clip"]
    detector, tracks = config["detector"], config["tracks"]
    phases = config["data"]["train_phases"]
    rows = [
        ("frames a second", f"{video['fps']:g} (training: {phases} times it)"),
        (
            "faces",
            f"MTCNN, from {detector['min_face_size']} pixels at a width of "
            f"{detector['input_width'] or 'the video'}; people followed by "
            f"overlap, kept from {tracks['min_frames']} frames and a score of "
            f"{tracks['min_score']:g}",
        ),
        (
            "crops",
            f"{clip['crop_size']} x {clip['crop_size']} pixels, JPEG quality "
            f"{clip['jpeg_quality']}, margin {clip['face_margin']:g}",
        ),
        ("config", md.text(description["config_hash"])),
    ]
    return f"## How videos became records\n\n{md.facts(rows)}"
