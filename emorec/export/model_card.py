"""The model card: what a model is for, how good it is, and where it fails.

Made of the model's own description and of evaluations; what nobody recorded
is said to be unknown, never guessed.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from emorec.data import planted, sample_plan
from emorec.export import card_texts
from emorec.export import markdown as md
from emorec.export.card_figures import SCALARS, Figures
from emorec.models import presets

# Sources whose answers say nothing about emotion.
TOYS = {
    sample_plan.SOURCE: "emorec's sample set: generated videos of drawn faces",
    planted.SOURCE: "the planted task: made-up features without any video",
}
_DETECTOR = (
    "face detector",
    "MTCNN, of the package mtcnn 1.0.0",
    "MIT",
    "ipazc/mtcnn",
    "-",
)
_FER2013 = "mini_xception"


def text(
    description: Mapping[str, Any],
    figures: Sequence[Figures],
    *,
    parameters: int | None = None,
    version: int | None = None,
) -> str:
    """Returns the card.

    Args:
        description: `Bundle.describe()`.
        figures: What was measured, the most important first; may be empty.
        parameters: Of the network, without the frozen encoders.
        version: The exported version's number, where it has one.
    """
    title = f"Model card: {md.text(_title(description['system']))}"
    if version is not None:
        title += f", version {version}"
    return md.page(
        title,
        [
            _warnings(description),
            _what(description, parameters),
            card_texts.USE,
            *_measured(figures),
            _confidence(description["info"].get("calibration"), figures),
            _limits(description),
            card_texts.PRIVACY,
            _weights(description),
            card_texts.FOUNDATION,
        ],
    )


def _title(system) -> str:
    known = presets.SYSTEMS.get(system)
    return known.title if known else system


def _warnings(description) -> str:
    """What makes the answers worthless, and what was noted in training."""
    found = []
    if description["random_weights"]:
        found.append(
            f"**The {' and '.join(description['random_weights'])} encoder has "
            "random weights.** Answers say nothing about emotion."
        )
    sources = (description["info"].get("data") or {}).get("sources") or {}
    for source, what in TOYS.items():
        if source in sources:
            found.append(
                f"**Trained on {what}.** It shows that the software works; "
                "its answers say nothing about emotion."
            )
    notes = description["info"].get("notes") or []
    found += [f"Note: {md.text(note)}." for note in notes]
    return "\n>\n".join(f"> {line}" for line in found)


def _what(description, parameters) -> str:
    info, config = description["info"], description["config"]
    clip = (
        f"{config['video']['fps']:g} frames a second, at most "
        f"{config['clip']['clip_frames']} frames"
    )
    rows = [
        ("system", md.text(description["system"])),
        ("labels", ", ".join(map(md.text, description["labels"]["names"]))),
        ("reads", md.text(" and ".join(description["streams"]) or "nothing")),
        ("a clip", clip),
        ("parameters", f"{parameters:,}" if parameters else md.UNKNOWN),
        *_network(description["system"], config["model"]),
        ("training", _training(info, config["train"])),
        ("run", md.text(info.get("run"))),
        ("begun from the run", md.text(info.get("base") or "none")),
        ("made with", md.text(_versions(description))),
    ]
    members = [
        f"{m['weight']:.4f} x {md.text(m['system'])}"
        for m in info.get("members", [])
    ]
    if members:
        rows.append(("members", ", ".join(members)))
    return f"## What it is\n\n{md.facts(rows)}"


def _network(system, config) -> list[tuple[str, str]]:
    """The sizes of a recurrent network; those of others are in the config."""
    if not config["rnn_units"]:
        return []
    sizes = f"F {config['encoder_units']}, H {config['rnn_units']}"
    known = presets.SYSTEMS.get(system)
    if known is not None and known.cascade:
        sizes += f", attention {_said(config['attention'])}"
        sizes += f", seeding {_said(config['seeding'])}"
    return [("network", sizes)]


def _said(value) -> str:
    return "on" if value else "off"


def _training(info, config) -> str:
    if not info.get("epochs"):
        return "none by gradient"
    return (
        f"{info['epochs']} epochs, the best {info['best_epoch'] + 1}; Adam, "
        f"rate {config['learning_rate']:g}, batch {config['batch_size']}, "
        f"seed {info.get('seed')}"
    )


def _versions(description) -> str:
    versions = description["info"].get("versions") or {}
    return ", ".join(
        [
            f"emorec {description['emorec']}",
            *(f"{name} {value}" for name, value in versions.items()),
        ]
    )


def _measured(figures) -> list[str]:
    """The metrics and slices of each evaluation."""
    parts = ["## How good it is"]
    if not figures:
        parts.append(
            "Not known: the data had no labelled validation split, or an "
            "older emorec trained the model. `emorec evaluate` measures it; "
            "`emorec export --evaluation=FOLDER` puts that here."
        )
    for found in figures:
        parts += _split(found)
    parts.append(
        "By age, sex, skin colour, culture or camera: not measured, since the "
        "data does not say them. Name such groups in the manifest's column "
        "`source`, and they stand above."
        if figures
        else ""
    )
    return parts


def _split(found) -> list[str]:
    silent = found.n - found.answered
    head = (
        f"### Split {md.text(found.split)}\n\n{found.n} {found.unit}, data set "
        f"{md.text(found.fingerprint)}. {silent} had no face: they got no "
        "answer and count as wrong."
    )
    if found.caution:
        head += f" Mind: {md.text(found.caution)}."
    parts = [
        head,
        md.table(("metric", "value", "95 % interval"), _scalars(found)),
        md.table(
            ("class", "clips", "precision", "recall"),
            [
                (md.text(n), count, md.percent(p), md.percent(r))
                for n, count, p, r in found.classes
            ],
        ),
    ]
    for name, slices in (
        ("source", found.sources),
        ("frames with a face", found.coverage),
    ):
        if slices:
            heads = (name, "clips", "with an answer", "accuracy")
            parts.append(md.table(heads, map(_slice, slices)))
    return parts


def _scalars(found) -> Iterator[tuple]:
    for name, title in SCALARS.items():
        bounds = [md.percent(b) for b in found.intervals.get(name, ())]
        interval = " to ".join(bounds) or "not measured"
        yield title, md.percent(found.scalars[name]), interval
    if found.majority is not None:
        name = "accuracy of always naming the commonest class"
        yield name, md.percent(found.majority), "-"


def _slice(values) -> tuple:
    name, n, answered, accuracy = values
    return md.text(name or "(unnamed)"), n, answered, md.percent(accuracy)


def _confidence(found, figures) -> str:
    head = "## Confidence\n\n"
    if not found:
        return head + (
            "Not calibrated: there was no validation split with faces, or an "
            "older emorec trained the model. Its probabilities are what the "
            "network says of itself, mostly too high."
        )
    rows = [
        (
            f"{md.text(split)}, {n} {unit}",
            md.percent(part["ece_before"]),
            md.percent(part["ece_after"]),
        )
        for split, unit, n, part in (
            (found["split"], "records", found["clips"], found),
            *(
                (f.split, "clips", f.calibration["clips"], f.calibration)
                for f in figures
                if f.calibration and f.calibration is not found
            ),
        )
    ]
    heads = ("expected calibration error", "the network's own", "calibrated")
    return (
        f"{head}Probabilities are the network's own. A temperature of "
        f"{found['temperature']:.3g}, fitted on {found['clips']} records of "
        f"the split {md.text(found['split'])}, turns them into confidence; "
        "results carry it, and call an answer of little confidence uncertain. "
        "It holds for clips like those, for no others; with fewer than some "
        f"hundred it is rough.\n\n{md.table(heads, rows)}"
    )


def _limits(description) -> str:
    config = description["config"]
    side, width = (
        config["detector"][n] for n in ("min_face_size", "input_width")
    )
    wide = f"pictures of {width} pixels' width" if width else "the picture"
    lines = [
        "One label of the list for one person and clip; no mixture, no "
        "strength, no voice, no words.",
        f"Faces below {side} pixels in {wide}, profiles, masks, dark or "
        "blurred scenes: such frames are left out and counted, and a clip "
        "without a face gets no answer. Drawn faces may be taken for faces.",
        "People, cameras, lighting and cultures unlike the training data's: "
        "worse in ways that no figure above shows.",
    ]
    if description["encoders"].get("face", {}).get("id") == _FER2013:
        lines.append(
            "The published face encoder was trained on FER2013, whose faces "
            "and labels are not balanced: worse for some groups."
        )
    if "context" in description["streams"]:
        lines.append(
            "What surrounds a person sways the answer, and may do so for "
            "reasons that have nothing to do with them."
        )
    known = presets.SYSTEMS.get(description["system"])
    if known is not None and known.cascade and config["model"]["attention"]:
        lines.append(
            "The attention map shows which frames the network weighed, not why."
        )
    bullets = "\n".join(f"- {line}" for line in lines)
    return f"## Limits and known failures\n\n{bullets}"


def _weights(description) -> str:
    rows = [
        (
            f"{stream} encoder",
            md.text(found.get("name") or found.get("id")),
            md.text(found.get("licence")),
            md.text(found.get("origin")),
            md.text((found.get("sha256") or "-")[:16]),
        )
        for stream, found in description["encoders"].items()
    ]
    heads = ("part", "weights", "licence", "origin", "SHA-256 begins")
    return (
        "## Frozen weights\n\n"
        f"{md.table(heads, [*rows, _DETECTOR], words=5)}\n\n"
        "Licences are those that the publishers state for the files; pictures "
        "that they were trained on have terms of their own."
    )
