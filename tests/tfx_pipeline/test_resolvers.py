"""Which earlier model or statistics a run is compared with."""

import json

import ml_metadata as mlmd
import pytest
from ml_metadata.proto import metadata_store_pb2
from tfx.types import standard_artifacts

from tfx_pipeline import resolvers


class World:
    """Artifacts as TFX records them, in a store in memory."""

    def __init__(self, folder):
        config = metadata_store_pb2.ConnectionConfig()
        config.fake_database.SetInParent()
        self.store = mlmd.MetadataStore(config)
        self.folder = folder
        self.models, self.blessings = [], []

    def put(self, artifact, name):
        kind = artifact.mlmd_artifact
        type_ = metadata_store_pb2.ArtifactType(name=artifact.type_name)
        artifact.uri = str(self.folder / name)
        kind.type_id = self.store.put_artifact_type(type_, can_add_fields=True)
        [kind.id] = self.store.put_artifacts([kind])
        return artifact

    def model(self, name, blessed, hash_="h", served=None):
        model = self.put(standard_artifacts.Model(), name)
        assets = self.folder / name / "Format-Serving" / "assets"
        assets.mkdir(parents=True)
        (assets / "emorec.json").write_text(
            json.dumps(
                {
                    "encoders": {"face": {"hash": hash_}},
                    "labels": {"names": ["a"]},
                    "inputs": ["face_features"],
                    "streams": ["face"],
                    "config": {},
                }
            )
        )
        self.models.append(model)
        if blessed is not None:
            blessing = standard_artifacts.ModelBlessing()
            blessing.set_int_custom_property("blessed", int(blessed))
            blessing.set_int_custom_property("current_model_id", model.id)
            self.blessings.append(self.put(blessing, f"{name}-blessing"))
        if served is not None:
            self._try_servable(model, name, served)
        return model

    def _try_servable(self, model, name, served):
        infra = standard_artifacts.InfraBlessing()
        infra.set_int_custom_property("blessed", int(served))
        self.put(infra, f"{name}-infra")
        kind = self.store.put_execution_type(
            metadata_store_pb2.ExecutionType(name="ServableValidator")
        )
        [execution] = self.store.put_executions(
            [metadata_store_pb2.Execution(type_id=kind)]
        )
        event = metadata_store_pb2.Event
        self.store.put_events(
            [
                event(
                    artifact_id=model.id,
                    execution_id=execution,
                    type=event.INPUT,
                ),
                event(
                    artifact_id=infra.id,
                    execution_id=execution,
                    type=event.OUTPUT,
                ),
            ]
        )

    def validate(self, statistics, state):
        kind = self.store.put_execution_type(
            metadata_store_pb2.ExecutionType(name="x.StrictExampleValidator")
        )
        [execution] = self.store.put_executions(
            [metadata_store_pb2.Execution(type_id=kind, last_known_state=state)]
        )
        event = metadata_store_pb2.Event(
            artifact_id=statistics.id, execution_id=execution
        )
        event.type = metadata_store_pb2.Event.INPUT
        event.path.steps.add().key = "statistics"
        self.store.put_events([event])

    def latest(self, *candidates):
        found = resolvers.LatestBlessed().resolve_artifacts(
            self.store,
            {
                "candidate": list(candidates),
                "model": list(self.models),
                "model_blessing": list(self.blessings),
            },
        )
        assert set(found) == {"candidate", "model", "model_blessing"}
        assert len(found["model"]) == len(found["model_blessing"]) <= 1
        return found["model"][0] if found["model"] else None


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_the_latest_that_was_blessed_and_is_not_the_candidate(world):
    first = world.model("1", blessed=True)
    second = world.model("2", blessed=True)
    world.model("3", blessed=False)
    candidate = world.model("4", blessed=True)
    assert world.latest(candidate) is second
    # The same run again: its model has been blessed meanwhile.
    assert world.latest(second) is candidate
    assert world.latest(first) is candidate


def test_the_first_run_has_no_baseline(world):
    candidate = world.model("1", blessed=True)
    assert world.latest(candidate) is None


def test_a_model_that_could_not_be_served_is_no_baseline(world):
    first = world.model("1", blessed=True, served=True)
    world.model("2", blessed=True, served=False)
    candidate = world.model("3", blessed=None)
    assert world.latest(candidate) is first


def test_a_model_of_other_encoders_is_no_baseline(world):
    first = world.model("1", blessed=True)
    world.model("2", blessed=True, hash_="other")
    candidate = world.model("3", blessed=None)
    assert world.latest(candidate) is first


def test_without_a_candidate_any_blessed_model_is_taken(world):
    world.model("1", blessed=True)
    second = world.model("2", blessed=True, hash_="other")
    assert world.latest() is second


def test_the_latest_statistics_that_were_accepted(world):
    made = [
        world.put(standard_artifacts.ExampleStatistics(), f"s{i}")
        for i in range(4)
    ]
    states = metadata_store_pb2.Execution
    for artifact, state in zip(
        made,
        (states.COMPLETE, states.CACHED, states.FAILED, states.RUNNING),
        strict=True,
    ):
        world.validate(artifact, state)

    def other(candidate):
        found = resolvers.LatestValid().resolve_artifacts(
            world.store, {"candidate": [candidate], "others": list(made)}
        )
        return found["others"]

    # What was refused, or never judged, is not what others are held against.
    assert other(made[3]) == [made[1]]
    assert other(made[1]) == [made[0]]
    del made[1:]
    assert other(made[0]) == []
