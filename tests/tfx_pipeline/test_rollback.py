"""An earlier blessed version is pushed again, or nothing is changed."""

import json
import pathlib
import subprocess
import sys

import pytest
from testing import commands, s3, tiny_pipeline
from testing.tiny_rollback import (
    SERVING,
    change,
    copies,
    everything,
    roll_back,
    told,
    tree,
)

from emorec.errors import EmorecError, ExportError, UsageError
from tfx_pipeline import metadata_store, pushes, rollback, run_table


def test_the_version_before_is_served_again(world):
    first, second = world.versions
    before = tree(SERVING)
    made = roll_back()
    assert made.version == max(world.versions) > second
    assert (made.rolled_back_to, made.rolled_back_from) == (first, second)
    assert tree(SERVING / str(made.version)) == tree(SERVING / str(first))
    after = tree(SERVING)
    assert {k: v for k, v in after.items() if k in before} == before
    # No staging folder stays, and others may read the new one.
    assert {p.name for p in SERVING.iterdir()} == {
        str(v) for v in (first, second, made.version)
    }
    assert (SERVING / str(made.version)).stat().st_mode & 0o777 == 0o755


def test_ml_metadata_knows_it(world):
    made = roll_back()
    first = world.versions[0]
    with metadata_store.opened(tiny_pipeline.METADATA) as store:
        [execution] = store.get_executions_by_type("EmorecRollback")
        assert execution.last_known_state == metadata_store.Execution.COMPLETE
        inputs = metadata_store.linked(
            store, execution.id, metadata_store.INPUTS
        )
        types = {k: [a.type for a in found] for k, found in inputs.items()}
        contexts = store.get_contexts_by_execution(execution.id)
        [artifact] = store.get_artifacts_by_id([made.artifact_id])
    assert types == {
        "model": ["Model"],
        "model_blessing": ["ModelBlessing"],
        "infra_blessing": ["InfraBlessing"],
        "pushed_model": ["PushedModel"],
    }
    assert [c.name for c in contexts] == [tiny_pipeline.NAME]
    value = metadata_store.value
    assert value(execution, "rolled_back_to") == first
    assert value(artifact, "pushed_version") == str(made.version)
    found = told()
    assert found.served == found.version == made.version
    assert found.lineage.training["seed"] == 1
    lines = found.text().splitlines()
    [line] = [x for x in lines if x.endswith("SERVED")]
    assert f"rollback: version {first} again" in line
    # It is no run of the pipeline.
    assert len(found.runs) == len(world.ids)


def test_later_runs_go_on(world):
    second = world.versions[1]
    world.run("third", 7)
    third = max(world.versions)
    made = roll_back()
    assert made.rolled_back_to == second

    def table(name):
        with metadata_store.opened(tiny_pipeline.METADATA) as store:
            return run_table.collect(
                store,
                tiny_pipeline.NAME,
                world.ids[name],
                tiny_pipeline.NODES,
                tiny_pipeline.SERVING,
            )

    # The model that was rolled away from does not come back by itself.
    world.run("third again", 7)
    found = table("third again")
    assert found.rows[-1].state == "cached"
    assert found.note() == (
        f"version {third} was pushed earlier; version {made.version} (version "
        f"{second} again) is still served in serving/emotion"
    )
    world.run("better", 9)
    assert table("better").pushed == max(world.versions) > made.version


def test_the_model_that_was_rolled_away_from_stays_away(world):
    made = roll_back()
    first, second, _ = world.versions
    before = everything()
    with pytest.raises(ExportError) as caught:
        roll_back()
    assert str(caught.value) == (
        f"no blessed version of another model was pushed before {first}; "
        f"this pipeline pushed {made.version}, {second}, {first}; name one "
        "of them by --version"
    )
    assert everything() == before
    again = roll_back(second)
    assert (again.rolled_back_to, again.rolled_back_from) == (
        second,
        made.version,
    )
    # From there, the version before is the first one once more.
    assert roll_back().rolled_back_to == first


def test_numbers_of_others_are_passed_over(world):
    (SERVING / "9999999999").mkdir()
    made = roll_back()
    assert made.version == 10000000000
    assert made.rolled_back_from == world.versions[1]


@pytest.mark.parametrize("key", ["ModelBlessing", "InfraBlessing"])
def test_a_version_that_was_not_blessed_by_both(world, key):
    first = world.versions[0]
    with metadata_store.opened(tiny_pipeline.METADATA) as store:
        pushed = pushes.pushed_versions(store, tiny_pipeline.NAME)[-1]
        name = {"ModelBlessing": "model", "InfraBlessing": "infra"}[key]
        blessing = pushed.inputs[f"{name}_blessing"]
    change(
        "UPDATE ArtifactProperty SET int_value = 0 "
        "WHERE artifact_id = ? AND name = 'blessed'",
        blessing,
    )
    other = {"model": "ServableValidator", "infra": "Evaluator"}[name]
    before = everything()
    with pytest.raises(ExportError) as caught:
        roll_back(first)
    assert str(caught.value) == (
        f"version {first} was not blessed by both Evaluator and "
        "ServableValidator; choose another version. Received: blessed by "
        f"{other}"
    )
    with pytest.raises(ExportError, match="no blessed version of another"):
        roll_back()
    assert everything() == before


def test_what_cannot_be_chosen(world):
    first, second = world.versions
    before = everything()
    with pytest.raises(UsageError) as caught:
        roll_back(5)
    assert str(caught.value) == (
        "`--version` must be one that this pipeline pushed: "
        f"{second}, {first}. Received: 5"
    )
    with pytest.raises(ExportError, match=f"{second}, which is served, is the"):
        roll_back(second)
    with pytest.raises(ExportError) as caught:
        roll_back(serving_dir="elsewhere")
    assert str(caught.value) == (
        "elsewhere: the pipeline 'tiny' has pushed nothing there; its versions "
        "are in serving/emotion: give that as `serving_dir`, or run it first"
    )
    assert not pathlib.Path("elsewhere").exists()
    assert everything() == before


def test_a_full_disk(world, full_disk):
    for folder in copies():
        pathlib.Path(folder, "assets").write_bytes(bytes(100_000))
    before = everything()
    with (
        full_disk(50_000),
        pytest.raises(EmorecError, match="cannot be written"),
    ):
        roll_back()
    assert everything() == before


def test_what_cannot_be_recorded_is_not_served(world):
    before = everything()
    # Another process, since locks do not hold within one.
    hold = (
        "import sqlite3, sys;"
        "c = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "c.execute('BEGIN IMMEDIATE'); print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, tiny_pipeline.METADATA],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        other.stdout.readline()
        with pytest.raises(EmorecError, match="when nobody else writes to it"):
            roll_back()
        other.stdin.close()
    assert everything() == before


def test_a_rollback_that_fails_is_recorded_as_failed(world, monkeypatch):
    """The one fault that cannot be made with files alone: a lost race."""
    first, second = world.versions

    def taken(base, found):
        return second

    monkeypatch.setattr(rollback, "_next_number", taken)
    before = everything()
    with pytest.raises(ExportError, match="another push has taken this number"):
        roll_back()
    assert everything()[:2] == before[:2]
    with metadata_store.opened(tiny_pipeline.METADATA) as store:
        [execution] = store.get_executions_by_type("EmorecRollback")
    assert execution.last_known_state == metadata_store.Execution.FAILED
    assert [p.version for p in told().pushed] == [second, first]


def test_the_command(world, capsys):
    values = {
        "pipeline_name": "tiny",
        "pipeline_root": "root",
        "metadata_path": "metadata.sqlite",
        "serving_dir": "serving/emotion",
        "input": {"manifest": "labels.csv"},
    }
    pathlib.Path("pipeline.json").write_text(json.dumps(values))
    first, second = world.versions

    def command(*arguments):
        return commands.here(
            capsys, "pipeline", "rollback", "--config=pipeline.json", *arguments
        )

    done = command()
    assert done.code == 0, done.err
    new = max(world.versions)
    assert done.out.startswith(
        f"version {new} is version {first} again, in place of {second} (model "
    )
    assert done.out.endswith(f"{world.folder / SERVING / str(new)}\n")
    done = command("--version=7")
    assert (done.code, "Received: 7" in done.fault()) == (2, True)
    values["metadata_path"] = "none.sqlite"
    pathlib.Path("pipeline.json").write_text(json.dumps(values))
    assert (
        command()
        .fault()
        .endswith(
            "none.sqlite: no ML Metadata (there is no such file); run `emorec "
            "pipeline run` first, or give the right path"
        )
    )
    assert max(world.versions) == new


REMOTE = """
import sys
from tfx_pipeline import rollback
made = rollback.roll_back("metadata.sqlite", "tiny", sys.argv[1])
print(made.version, made.rolled_back_to, made.destination)
"""


@pytest.mark.long
def test_a_base_path_in_a_bucket(world):
    first, second = world.versions
    with s3.s3_server() as server:
        base = f"{server.url}/emotion"
        for name in tree(SERVING):
            server.put(SERVING / name, f"emotion/{name}")
        change(
            "UPDATE ArtifactProperty SET string_value = replace("
            "string_value, 'serving/emotion', ?)",
            base,
        )
        done = server.python(REMOTE, base)
        new, again, place = done.stdout.split()
        assert (int(new) > second, int(again)) == (True, first)
        assert place == f"{base}/{new}"
        found = {k: server.get(k) for k in server.keys(f"emotion/{new}/")}
        assert found == {
            f"emotion/{new}/{name}": data
            for name, data in tree(SERVING / str(first)).items()
        }
