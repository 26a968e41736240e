"""Which earlier artifacts a run compares with.

TFX's own strategies take the latest of all, which in a run where nothing has
changed is what that run is about: a model would be compared with itself, and
every second run would evaluate anew, since its baseline has changed. Ours
leave out the candidate, so that such a run is answered from the cache.
"""

import logging

import ml_metadata as mlmd
from tfx.components.evaluator import constants as evaluator
from tfx.dsl.components.common import resolver
from tfx.types import artifact as artifacts

from emorec.errors import ModelError
from tfx_pipeline import candidates
from tfx_pipeline.metadata_store import consumers

_Found = dict[str, list[artifacts.Artifact]]


class LatestValid(resolver.ResolverStrategy):
    """The latest statistics, other than the candidate, that were accepted.

    What the ExampleValidator refused must not become what the next data are
    held against.

    Inputs: `candidate`, of this run; `others`, of any run.
    """

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: _Found
    ) -> _Found:
        """Returns the inputs with at most one of `others`."""
        known = {a.id for a in input_dict["candidate"]}
        for other in sorted(input_dict["others"], key=lambda a: -a.id):
            if other.id not in known and _is_valid(store, other.id):
                return {**input_dict, "others": [other]}
        return {**input_dict, "others": []}


def _is_valid(store: mlmd.MetadataStore, artifact_id: int) -> bool:
    states = mlmd.proto.Execution
    return any(
        "ExampleValidator" in execution.type
        and execution.last_known_state in (states.COMPLETE, states.CACHED)
        for execution in consumers(store, artifact_id, "statistics")
    )


class LatestBlessed(resolver.ResolverStrategy):
    """The latest model, other than the candidate, that was blessed.

    By the Evaluator, and not refused by who tried its servable. Models of
    other encoders or labels are left out: they cannot answer for the records
    of features that the candidate is measured on.

    Inputs: `candidate`, the model of this run, may be empty; `model`,
    `model_blessing`.
    """

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: _Found
    ) -> _Found:
        """Returns the inputs with at most one model and its blessing."""
        ours = input_dict.get("candidate", [])
        blessings = {
            b.get_int_custom_property(
                evaluator.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY
            ): b
            for b in sorted(input_dict["model_blessing"], key=lambda b: b.id)
            if b.get_int_custom_property(
                evaluator.ARTIFACT_PROPERTY_BLESSED_KEY
            )
            == evaluator.BLESSED_VALUE
        }
        wanted = [_reads(c) for c in ours]
        known = {c.id for c in ours}
        result = {**input_dict, "model": [], "model_blessing": []}
        for model in sorted(input_dict["model"], key=lambda m: -m.id):
            if (
                model.id in blessings
                and model.id not in known
                and not _refused(store, model.id)
                and (not wanted or _reads(model) in wanted)
            ):
                return {
                    **result,
                    "model": [model],
                    "model_blessing": [blessings[model.id]],
                }
        return result


def _refused(store: mlmd.MetadataStore, model_id: int) -> bool:
    """Whether the trial of a model's servable ended with a refusal."""
    executions = {
        e.execution_id
        for e in store.get_events_by_artifact_ids([model_id])
        if e.type in (mlmd.proto.Event.INPUT, mlmd.proto.Event.DECLARED_INPUT)
    }
    outputs = {
        e.artifact_id
        for e in store.get_events_by_execution_ids(list(executions))
        if e.type == mlmd.proto.Event.OUTPUT
    }
    trials = [
        a.custom_properties["blessed"].int_value
        for a in store.get_artifacts_by_id(sorted(outputs))
        if a.type == "InfraBlessing"
    ]
    # A later trial, after a fault of the server, counts.
    return bool(trials) and not trials[-1]


def _reads(model: artifacts.Artifact):
    """Returns what a model's answers rest on; None where it does not say."""
    try:
        found = candidates.description(candidates.saved_model_path(model))
    except ModelError as e:
        logging.warning("%s", e)
        found = None
    if found is None:
        return None
    hashes = sorted((k, e["hash"]) for k, e in found["encoders"].items())
    return hashes, found["labels"], sorted(found["inputs"])
