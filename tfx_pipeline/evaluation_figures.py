"""What an Evaluator found, without TensorFlow Model Analysis where possible.

TFMA alone can read its results, and its import takes many seconds. The run
that made them leaves the figures in its own JSON, `<pipeline_root>/runs/`.
"""

import json

from emorec.data import files
from emorec.errors import EmorecError

# Where what became of each run is kept, below the pipeline's root.
RUNS = "runs"
EVALUATOR = "Evaluator"


def run_file(pipeline_root: str, run_id: str) -> str:
    """Returns the path of the JSON that tells what became of a run."""
    return files.join(pipeline_root, RUNS, f"{run_id.replace(':', '-')}.json")


def root_of(uri: str) -> str:
    """Returns the pipeline's root: URIs are <root>/<node>/<key>/<id>."""
    return files.parent(files.parent(files.parent(uri)))


def details(uri: str, blessing, run_id: str | None = None) -> dict:
    """Returns what an evaluation found, as JSON values.

    Args:
        uri: The URI of the evaluation; "" where it is unknown.
        blessing: The ModelBlessing artifact, or None.
        run_id: The run that made it, whose JSON is looked at first.

    Returns:
        `blessed` (True, False or None), `why_not` (in words), `figures` and
        `baseline` (clips, map, acc, cross_entropy; None where they cannot be
        read), `baseline_left_out` (the reason, or "") and `uri`.
    """
    known = _kept(uri, run_id) if uri and run_id else None
    if known is not None:
        return known
    from tfx_pipeline.metadata_store import value

    flag = value(blessing, "blessed") if blessing is not None else None
    made = {
        "uri": uri,
        "blessed": None if flag is None else flag == 1,
        "why_not": [],
        "figures": None,
        "baseline": None,
        "baseline_left_out": "",
    }
    if blessing is not None:
        made["baseline_left_out"] = value(blessing, "baseline_left_out") or ""
    found = _read(uri) if uri else None
    if found is not None:
        made["why_not"] = list(found["why_not"])
        made["figures"] = _short(found["slices"]["all"])
        made["baseline"] = _short(found["baseline"])
    return made


def _kept(uri, run_id) -> dict | None:
    path = run_file(root_of(uri), run_id)
    try:
        rows = files.read_json(path, "table of a run", "")["rows"]
        for row in rows:
            found = row["details"]
            if found.get("uri") == uri and "figures" in found:
                return found
    except (EmorecError, AttributeError, KeyError, TypeError):
        pass  # Of a killed run, or edited: TFMA's own files tell.
    return None


def _read(uri) -> dict | None:
    if not files.exists(files.join(uri, "eval_config.json")):
        return None  # Removed since; importing TFMA would not help.
    from tfx_pipeline import evaluation

    try:
        return evaluation.read_result(uri)
    except EmorecError:
        return None  # Of a config that is not ours: the blessing tells.


def _short(figures: dict | None) -> dict | None:
    if figures is None:
        return None
    return {k: figures[k] for k in ("clips", "map", "acc", "cross_entropy")}


def words(found: dict) -> str:
    """Returns `details` in words."""
    if found["blessed"] is None:
        return "measured, without thresholds" + _told(found)
    if found["blessed"]:
        return "blessed" + _told(found)
    why = "; ".join(found["why_not"])
    if why:
        return f"not blessed: {why}{_left_out(found)}"
    return "not blessed" + _told(found)


def _told(found: dict) -> str:
    text = figure_words(found["figures"])
    text = f": {text}" if text else ""
    baseline = figure_words(found["baseline"])
    if baseline:
        return f"{text} (last blessed model: {baseline})"
    return text + _left_out(found)


def _left_out(found: dict) -> str:
    # A table of an earlier version does not have it.
    reason = found.get("baseline_left_out")
    return f" (last blessed model left out: {reason})" if reason else ""


def figure_words(figures: dict | None) -> str:
    """Returns `MAP 51.20 %, ACC 48.00 % of 96 clips`; "" without figures."""
    if not figures:
        return ""
    shares = ", ".join(
        f"{name.upper()} "
        + ("-" if figures[name] is None else f"{100 * figures[name]:.2f} %")
        for name in ("map", "acc")
    )
    return f"{shares} of {figures['clips']} clips"


def parse(text) -> dict:
    """Returns a JSON object that an execution was given; {} for others."""
    try:
        found = json.loads(text) if isinstance(text, str) else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
