"""What a node of a run came to, in words."""

import dataclasses

import ml_metadata as mlmd

from emorec.data import files
from emorec.errors import EmorecError
from tfx_pipeline import evaluation_figures, metadata_store, pushes
from tfx_pipeline.metadata_store import Artifact, Execution, value

_NAMES = {"ExampleStatistics": "statistics"}
# What a Resolver is given, beside what it is to find.
_GIVEN = ("candidate", pushes.MODEL_BLESSING)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a node came to.

    Attributes:
        words: One line; "" where there is nothing to say.
        details: JSON values by which others find the same.
    """

    words: str = ""
    details: dict = dataclasses.field(default_factory=dict)


def outcome(store: mlmd.MetadataStore, execution: Execution) -> Outcome:
    """Returns what a finished execution came to, by what it has put out."""
    outputs = _by_type(store, execution, metadata_store.OUTPUTS)
    found = metadata_store.linked(store, execution.id, metadata_store.FOUND)
    if found or not outputs:
        return _resolved(store, execution, found)
    for kind, describe in _KINDS:
        if kind in outputs:
            return describe(store, execution, outputs)
    return Outcome()


def _by_type(store, execution, kinds) -> dict[str, Artifact]:
    linked = metadata_store.linked(store, execution.id, kinds)
    return {a.type: a for artifacts in linked.values() for a in artifacts}


def _resolved(store, execution, found) -> Outcome:
    if not execution.type.endswith("Resolver"):
        return Outcome()
    others = [
        a for key, kept in found.items() if key not in _GIVEN for a in kept
    ]
    if not others:
        return Outcome("none yet", {"artifacts": []})
    words = ", ".join(
        f"{_NAMES.get(a.type, a.type.lower())} {a.id}" for a in others
    )
    return Outcome(words, {"artifacts": [a.id for a in others]})


def _clips(store, execution, outputs) -> Outcome:
    """Of ClipExampleGen: its dead letters and its data set."""
    letters = outputs["emorec.DeadLetters"]
    failed, rows = (value(letters, k) or 0 for k in ("failed", "rows"))
    details = {"failed": failed, "rows": rows, "uri": letters.uri}
    words = f"{rows} rows"
    if failed:
        words += f", {failed} unreadable ({letters.uri}/failures.csv)"
    examples = outputs.get("Examples")
    if examples is not None:
        try:
            path = files.join(examples.uri, "dataset.json")
            splits = files.read_json(path, "data set", "")["splits"]
            counts = {k: v["records"] for k, v in splits.items()}
            details["records"] = counts
            words += "; clips: " + ", ".join(
                f"{n} {k}" for k, n in counts.items()
            )
        except (EmorecError, KeyError, TypeError, AttributeError):
            words += "; its data set is gone"
    return Outcome(words, details)


def _features(store, execution, outputs) -> Outcome:
    """Of FeatureExtractor: random weights are said where they are shown."""
    random = value(outputs["Examples"], "random_weights") or ""
    hashed = value(outputs["Examples"], "encoder_hash")
    details = {"encoder_hash": hashed} if hashed else {}
    if not random:
        return Outcome("", details)
    streams = random.split(",")
    return Outcome(
        f"RANDOM weights: {' and '.join(streams)} (answers say nothing about "
        "emotion)",
        {**details, "random_weights": streams},
    )


def _anomalies(store, execution, outputs) -> Outcome:
    # The strict validator fails where there are any.
    strict = "Strict" in execution.type
    return Outcome("no anomalies" if strict else "")


def _tuned(store, execution, outputs) -> Outcome:
    uri = outputs["HyperParameters"].uri
    path = files.join(uri, "best_hyperparameters.txt")
    try:
        values = files.read_json(path, "hyperparameters", "").get("values", {})
    except EmorecError:
        return Outcome()
    words = ", ".join(f"{k}={v}" for k, v in values.items())
    return Outcome(words, {"tuned": values})


def _trained(store, execution, outputs) -> Outcome:
    model = outputs["Model"]
    return Outcome(f"model {model.id}", {"model": model.id, "uri": model.uri})


def _evaluated(store, execution, outputs) -> Outcome:
    evaluation = outputs.get("ModelEvaluation")
    uri = evaluation.uri if evaluation is not None else ""
    details = evaluation_figures.details(uri, outputs.get("ModelBlessing"))
    return Outcome(evaluation_figures.words(details), details)


def _tried(store, execution, outputs) -> Outcome:
    blessing = outputs["InfraBlessing"]
    blessed, reason = value(blessing, "blessed") == 1, value(blessing, "reason")
    words = "blessed" if blessed else "not blessed"
    return Outcome(
        f"{words}: {reason}" if reason else words,
        {"blessed": blessed, "reason": reason or "", "uri": blessing.uri},
    )


def _pushed(store, execution, outputs) -> Outcome:
    artifact = outputs[pushes.PUSHED_MODEL]
    if value(artifact, "pushed") == 1:
        place = value(artifact, "pushed_destination") or ""
        return Outcome(
            f"version {value(artifact, 'pushed_version')}: {place}",
            {"pushed": True, "destination": place, "artifact": artifact.id},
        )
    inputs = metadata_store.linked(store, execution.id, metadata_store.INPUTS)
    refused = [
        pushes.maker_name(store, a.id)
        for key in (pushes.MODEL_BLESSING, pushes.INFRA_BLESSING)
        for a in inputs.get(key, [])
        if value(a, "blessed") != 1
    ]
    return Outcome(
        f"not pushed: not blessed by {' and '.join(refused) or 'anybody'}",
        {"pushed": False, "refused_by": refused},
    )


# The first kind that a node has put out says what node it is.
_KINDS = (
    ("emorec.DeadLetters", _clips),
    ("ExampleAnomalies", _anomalies),
    ("HyperParameters", _tuned),
    ("ModelBlessing", _evaluated),
    ("ModelEvaluation", _evaluated),
    ("InfraBlessing", _tried),
    (pushes.PUSHED_MODEL, _pushed),
    ("Model", _trained),
    ("Examples", _features),
)


def failure(execution: Execution) -> Outcome:
    """Returns why an execution failed, as far as ML Metadata tells."""
    told = evaluation_figures.parse(value(execution, "__execution_result__"))
    lines = str(told.get("resultMessage") or "").strip().splitlines()
    return Outcome(" ".join(lines[-1].split())[:300] if lines else "")
