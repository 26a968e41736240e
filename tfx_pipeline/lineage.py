"""What a model is made of: its videos, config, code, encoders and figures.

Read from ML Metadata, upstream from the model, and from what the artifacts
on the way say of themselves.
"""

import dataclasses

import ml_metadata as mlmd

from emorec.data import files
from emorec.errors import EmorecError
from tfx_pipeline import evaluation_figures, metadata_store, pushes
from tfx_pipeline.metadata_store import INPUTS, OUTPUTS, value
from tfx_pipeline.pushes import PushedVersion

# More than any pipeline of ours has above a model.
_MAX_EXECUTIONS = 64
_MAX_BASES = 16
_BASE = "base_model"


@dataclasses.dataclass(frozen=True)
class Lineage:
    """What a model is made of; dicts of JSON values.

    Attributes:
        model: `id`, `uri`, `created`, `run_id`.
        data: What ClipExampleGen read and wrote: `uri`, `given` (input_base,
            manifest or data, labels, people, seed), `span`, `version`,
            `input_fingerprint`; and of the data set `fingerprint`,
            `config_hash`, `sources`, `splits` (rows and records) and
            `failed`, the rows that could not be read.
        features: `uri` of the records that the Trainer read.
        training: The Trainer's `custom_config`, and `tuned`, the values that
            a Tuner chose.
        encoders: Stream -> `id`, `hash` and the weights' origin.
        code: Node -> the hash of its code.
        bases: The models that a warm start began from, the nearest first:
            `id`, `uri`.
        evaluation: `evaluation_figures.details`; {} where it was not
            evaluated.
        servable: `blessed`, `reason`, `uri`; {} where it was not tried.
        notes: What could not be read any more.
    """

    model: dict
    data: dict
    features: dict
    training: dict
    encoders: dict
    code: dict
    bases: list
    evaluation: dict
    servable: dict
    notes: list

    def to_dict(self) -> dict:
        """Returns JSON values."""
        return dataclasses.asdict(self)


def model_artifact(
    store: mlmd.MetadataStore, pushed: PushedVersion
) -> metadata_store.Artifact:
    """Returns the Model artifact of a version.

    Raises:
        EmorecError: ML Metadata does not tell it.
    """
    if pushed.model_id is None:
        raise EmorecError(
            f"version {pushed.version}: ML Metadata does not tell which model "
            "it is; push it by this pipeline"
        )
    return store.get_artifacts_by_id([pushed.model_id])[0]


def lineage_of(
    store: mlmd.MetadataStore,
    model: metadata_store.Artifact,
    pushed: PushedVersion | None = None,
) -> Lineage:
    """Returns what a model is made of.

    Args:
        store: The store.
        model: A Model artifact.
        pushed: A push of it, whose blessings are told; without, the newest.
    """
    notes = []
    above = _above(store, model.id)
    trainer = above[0] if above else None
    data, features = _examples(above)
    training = {}
    if trainer is not None:
        given = value(trainer.execution, "custom_config")
        training = {**evaluation_figures.parse(given), "tuned": _tuned(trainer)}
    about = _about_data(data, notes)
    return Lineage(
        model={
            "id": model.id,
            "uri": model.uri,
            "created": metadata_store.when(model.create_time_since_epoch),
            "run_id": trainer and trainer.run_id,
        },
        data=about,
        features={"uri": features.uri} if features is not None else {},
        training=training,
        encoders=_encoders(features, notes),
        code={step.node: step.code for step in above if step.code},
        bases=_bases(store, trainer),
        evaluation=_evaluation(store, model.id, pushed),
        servable=_servable(store, model.id, pushed),
        notes=notes,
    )


@dataclasses.dataclass(frozen=True)
class _Step:
    """An execution on the way to a model."""

    execution: metadata_store.Execution
    node: str
    run_id: str | None
    inputs: dict
    outputs: dict

    @property
    def code(self) -> str | None:
        given = evaluation_figures.parse(value(self.execution, "custom_config"))
        return value(self.execution, "code") or given.get("code")


def _above(store, artifact_id) -> list[_Step]:
    """Returns the executions that led to an artifact, the nearest first.

    The model that a warm start began from is left out, with all above it.
    """
    steps, waiting, seen = [], [artifact_id], set()
    while waiting and len(steps) < _MAX_EXECUTIONS:
        maker = metadata_store.producer(store, waiting.pop(0))
        if maker is None or maker.id in seen:
            continue
        seen.add(maker.id)
        step = _Step(
            execution=maker,
            node=metadata_store.node_of(store, maker),
            run_id=metadata_store.run_of(store, maker.id),
            inputs=metadata_store.linked(store, maker.id, INPUTS),
            outputs=metadata_store.linked(store, maker.id, OUTPUTS),
        )
        steps.append(step)
        for key, artifacts in step.inputs.items():
            if key != _BASE:
                waiting += [a.id for a in artifacts]
    return steps


def _examples(above):
    """Returns (step and artifact of the records of frames, the features)."""
    found = [
        (step, artifact)
        for step in above
        for artifacts in step.outputs.values()
        for artifact in artifacts
        if artifact.type == "Examples"
    ]
    features = [
        a for s, a in found if any(i.type == "Examples" for i in _all(s.inputs))
    ]
    return (found[-1] if found else None), (features[0] if features else None)


def _all(by_key: dict) -> list:
    return [a for artifacts in by_key.values() for a in artifacts]


def _about_data(found, notes) -> dict:
    if found is None:
        return {}
    step, artifact = found
    made = {
        "uri": artifact.uri,
        "given": _given(step.execution),
        **{
            name: value(artifact, name)
            for name in ("span", "version", "input_fingerprint")
        },
    }
    told = _read(files.join(artifact.uri, "dataset.json"), notes)
    if told:
        made |= {
            "fingerprint": told.get("fingerprint"),
            "config_hash": told.get("config_hash"),
            "sources": told.get("sources", {}),
            "splits": {
                name: {k: split.get(k) for k in ("rows", "records")}
                for name, split in told.get("splits", {}).items()
            },
            "failed": len(told.get("failures", [])),
        }
    return made


def _given(execution) -> dict:
    """Returns ClipExampleGen's parameters that say what it was to read."""
    made = {
        name: value(execution, name)
        for name in ("input_base", "labels", "people", "seed")
    }
    # TFX's form of a pattern: one split, named by what it is.
    told = evaluation_figures.parse(value(execution, "input_config"))
    for split in told.get("splits", []):
        made[split.get("name", "input")] = split.get("pattern")
    return {k: v for k, v in made.items() if v is not None}


def _encoders(features, notes) -> dict:
    if features is None:
        return {}
    told = _read(files.join(features.uri, "features.json"), notes)
    return told.get("encoders", {})


def _read(path, notes) -> dict:
    try:
        return files.read_json(path, "description", "it was removed")
    except EmorecError as e:
        notes.append(str(e))
        return {}


def _tuned(trainer) -> dict:
    for artifact in trainer.inputs.get("hyperparameters", []):
        path = files.join(artifact.uri, "best_hyperparameters.txt")
        return _read(path, []).get("values", {})
    return {}


def _bases(store, step) -> list:
    """Returns the models below a warm start, the nearest first."""
    made = []
    while step is not None and len(made) < _MAX_BASES:
        base = next(iter(step.inputs.get(_BASE, [])), None)
        if base is None:
            break
        made.append({"id": base.id, "uri": base.uri})
        step = next(iter(_above(store, base.id)), None)
    return made


def _evaluation(store, model_id, pushed) -> dict:
    execution = _judge(store, model_id, pushed, "ModelBlessing")
    if execution is None:
        return {}
    outputs = metadata_store.linked(store, execution.id, OUTPUTS)
    kinds = {a.type: a for a in _all(outputs)}
    evaluation = kinds.get("ModelEvaluation")
    return evaluation_figures.details(
        evaluation.uri if evaluation is not None else "",
        kinds.get("ModelBlessing"),
        metadata_store.run_of(store, execution.id),
    )


def _servable(store, model_id, pushed) -> dict:
    execution = _judge(store, model_id, pushed, "InfraBlessing")
    if execution is None:
        return {}
    outputs = metadata_store.linked(store, execution.id, OUTPUTS)
    blessing = {a.type: a for a in _all(outputs)}["InfraBlessing"]
    return {
        "blessed": value(blessing, "blessed") == 1,
        "reason": value(blessing, "reason") or "",
        "uri": blessing.uri,
    }


def _judge(store, model_id, pushed, kind):
    """Returns the execution that blessed a model or refused to."""
    key = {
        "ModelBlessing": pushes.MODEL_BLESSING,
        "InfraBlessing": pushes.INFRA_BLESSING,
    }[kind]
    if pushed is not None and key in pushed.inputs:
        return metadata_store.producer(store, pushed.inputs[key])
    for execution in reversed(
        metadata_store.consumers(store, model_id, "model")
    ):
        outputs = metadata_store.linked(store, execution.id, OUTPUTS)
        if any(a.type == kind for a in _all(outputs)):
            return execution
    return None


def videos(lineage: Lineage) -> list[dict]:
    """Returns the videos that a model's records are of.

    Reads all records of features, which imports TensorFlow; a video that
    gave no record, and one that could not be read, is not among them.

    Returns:
        Dicts of `split`, `video` (as the manifest wrote it), `sha256`,
        `label` and `clips`, in the order of the records.

    Raises:
        EmorecError: The records are gone or damaged.
    """
    from emorec.data import dataset, keys, records

    place = lineage.features.get("uri") or lineage.data.get("uri")
    if not place:
        raise EmorecError(
            f"model {lineage.model['id']}: ML Metadata tells no records that "
            "it was made of; push a model of this pipeline"
        )
    data = dataset.load(place)
    counts = {}
    for split, values in data.splits.items():
        for name in data.files(split) if values["files"] else ():
            for example in records.read(name):
                fields = (keys.VIDEO_PATH, keys.VIDEO_SHA256, keys.CLIP_LABEL)
                told = [records.one(example, k) for k in fields]
                key = (split, *told)
                counts[key] = counts.get(key, 0) + 1
    names = ("split", "video", "sha256", "label")
    return [
        {**dict(zip(names, key, strict=True)), "clips": n}
        for key, n in counts.items()
    ]
