"""What the fast path changes in the answers."""

from collections.abc import Iterator

import numpy as np

from benchmarks.bench import QUICK_REASON, Bench, Side
from benchmarks.detection import bfloat16_missing, overlaps
from benchmarks.rows import Row, compared
from emorec.errors import ConfigError

PLAIN = ("detector.detect_every=1", "features.bfloat16=none")
# What a user may give for more speed.
CHOICES = ("detector.detect_every=4", "features.bfloat16=all")
LABELS = "labels as on the plain path"
CHANGE = "probability, largest change against the plain path"


def rows(bench: Bench) -> Iterator[Row]:
    """Yields rows of labels and probabilities against the plain path."""
    settings = {"the defaults": ()}
    skipped = {}
    if not any(map(_differs, PLAIN)):
        skipped["the defaults"] = "the defaults are the plain path"
        settings = {}
    for choice in CHOICES:
        missing = "bfloat16" in choice and bfloat16_missing()
        if bench.quick or missing:
            skipped[choice] = missing or QUICK_REASON
        else:
            settings[choice] = (choice,)
    for name, reason in skipped.items():
        words = {"peer_name": ", ".join(PLAIN)}
        yield bench.skipped(f"{LABELS}: {name}", "share", reason, **words)
    if settings:
        yield from _rows(bench, settings)


def _rows(bench, settings) -> Iterator[Row]:
    """Compares the answers under several settings with the plain ones."""
    clips = [str(p) for p in bench.material.clips]
    if bench.quick:
        clips = clips[:: max(1, len(clips) // 4)][:4]
    args = {"model": str(bench.material.model), "videos": clips}
    module = "benchmarks.sides.ours_labels"
    found, failed = bench.answers(
        [
            Side(module, {**args, "settings": list(words)})
            for words in (PLAIN, *settings.values())
        ],
        rounds=1,
        warm_up=0,
    )
    peer_name = ", ".join(PLAIN)
    for name, side, why in zip(settings, found[1:], failed[1:]):
        reason = "; ".join(filter(None, (failed[0], why)))
        if reason:
            yield bench.skipped(
                f"{LABELS}: {name}", "share", reason, peer_name=peer_name
            )
            continue
        detail = agreement(
            side[0]["detail"]["answers"], found[0][0]["detail"]["answers"]
        )
        detail["seconds"] = round(side[0]["seconds"], 1)
        detail["seconds_plain"] = round(found[0][0]["seconds"], 1)
        detail["model"] = bench.material.model_note
        yield compared(
            f"{LABELS}: {name}",
            "share",
            [detail["agreement"]],
            [1.0],
            peer_name=peer_name,
            goal=1.0 if name == "the defaults" else None,
            detail=detail,
        )
        yield compared(
            f"{CHANGE}: {name}",
            "difference",
            [detail["largest_difference"]],
            [],
            peer_name=peer_name,
            reason="a difference, not a ratio",
        )


def _differs(setting: str) -> bool:
    """Says whether a setting is known and not the default."""
    from emorec.config import Config

    section = setting.partition(".")[0]
    default = Config().to_dict()
    try:
        changed = Config().override([setting]).to_dict()
    except ConfigError:
        return False
    return changed[section] != default[section]


def agreement(fast: dict, plain: dict) -> dict:
    """Compares two sets of answers, person by person.

    Args:
        fast: Video -> answers with `window`, `box`, `label`, `frames` and
            `probabilities`; see `sides.ours_labels`.
        plain: The same.

    Returns:
        `clips` of the plain path, `missing` ones, `more` of the fast path,
        `agreement` (share of the plain path's clips with the same label, 1
        where there are none), `largest_difference` of a probability, and the
        `changed` clips.
    """
    total = same = missing = more = 0
    largest, changed = 0.0, []
    for video, answers in plain.items():
        others = list(fast.get(video, ()))
        for answer in answers:
            total += 1
            other = _partner(answer, others)
            if other is None:
                missing += 1
                changed.append(f"{_short(video)}: missing")
                continue
            others.remove(other)
            pair = (answer["probabilities"], other["probabilities"])
            largest = max(largest, float(np.abs(np.subtract(*pair)).max()))
            if other["label"] == answer["label"]:
                same += 1
            else:
                labels = f"{answer['label']} became {other['label']}"
                changed.append(f"{_short(video)}: {labels}")
        more += len(others)
    return {
        "clips": total,
        "missing": missing,
        "more": more,
        "agreement": same / total if total else 1.0,
        "largest_difference": largest,
        "changed": changed,
    }


def _partner(answer: dict, others: list[dict]) -> dict | None:
    """Returns the answer for the same window and nearly the same place."""
    near = [o for o in others if o["window"] == answer["window"]]
    if not near:
        return None
    boxes = np.array([o["box"] for o in near])
    overlap = overlaps(np.array([answer["box"]]), boxes)[0]
    best = int(overlap.argmax())
    return near[best] if overlap[best] >= 0.3 else None


def _short(video: str) -> str:
    return video.rsplit("/", 1)[-1]
