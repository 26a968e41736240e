"""The table at the end of a run, of runs that ended in different ways."""

import json

import pytest
from testing import commands, tiny_pipeline

from emorec.errors import EmorecError
from tfx_pipeline import metadata_store, run_table

RESOLVERS = {"PreviousStatistics", "LastBlessed"}


@pytest.fixture
def collect(history, monkeypatch):
    """Returns a run's table."""
    monkeypatch.chdir(history.folder)

    def collect(name, nodes=tiny_pipeline.NODES, **more):
        with metadata_store.opened(tiny_pipeline.METADATA) as store:
            return run_table.collect(
                store, tiny_pipeline.NAME, history.ids[name], nodes, **more
            )

    return collect


def states(table):
    return {row.node: row.state for row in table.rows}


def outcome(table, node):
    return next(row.outcome for row in table.rows if row.node == node)


def test_a_first_run(collect, history):
    table = collect("first")
    assert states(table) == dict.fromkeys(tiny_pipeline.NODES, "ran")
    version = history.versions[0]
    assert table.pushed == version
    assert outcome(table, "Pusher") == (
        f"version {version}: serving/emotion/{version}"
    )
    assert outcome(table, "Evaluator") == "blessed"
    assert outcome(table, "ServableValidator") == "blessed"
    assert outcome(table, "LastBlessed") == "none yet"
    assert outcome(table, "FeatureExtractor") == (
        "RANDOM weights: face and context (answers say nothing about emotion)"
    )
    assert outcome(table, "Trainer").startswith("model ")
    [letters] = (history.folder / "root").glob("ClipExampleGen/dead_letters/*")
    assert outcome(table, "ClipExampleGen") == (
        f"4 rows, 1 unreadable ({letters.relative_to(history.folder)}"
        "/failures.csv); clips: 3 train, 1 test"
    )
    assert all(row.seconds >= 0 for row in table.rows)
    # Another run has pushed since.
    assert table.served == history.versions[1]


def test_a_run_in_which_nothing_had_to_be_done(collect, history):
    table = collect("same")
    cached = {k for k, v in states(table).items() if v == "cached"}
    assert cached == set(tiny_pipeline.NODES) - RESOLVERS
    assert table.pushed == history.versions[0]
    # A cached node tells what it told when it ran.
    assert outcome(table, "Pusher") == outcome(collect("first"), "Pusher")
    assert "7 cached, 2 ran" in table.text().splitlines()[0]


def test_a_second_model(collect, history):
    table = collect("second")
    assert states(table) == {
        **dict.fromkeys(tiny_pipeline.NODES, "ran"),
        **dict.fromkeys(
            ("ClipExampleGen", "StatisticsGen", "FeatureExtractor"), "cached"
        ),
    }
    assert table.note() == (
        f"pushed and served: version {history.versions[1]} in serving/emotion"
    )
    first = outcome(collect("first"), "Trainer")
    assert outcome(table, "LastBlessed") == first


@pytest.mark.parametrize(
    "name, node, why",
    [
        ("worse", "Evaluator", "not blessed"),
        (
            "unservable",
            "ServableValidator",
            f"not blessed: {tiny_pipeline.REFUSED}",
        ),
    ],
)
def test_a_model_that_is_not_pushed(collect, history, name, node, why):
    table = collect(name)
    assert outcome(table, node) == why
    assert outcome(table, "Pusher") == f"not pushed: not blessed by {node}"
    assert table.pushed is None
    assert table.note() == (
        f"nothing was pushed; version {history.versions[1]} is still served "
        "in serving/emotion"
    )


@pytest.mark.parametrize(
    "name, state", [("failed", "failed"), ("killed", "killed or still running")]
)
def test_a_run_that_ended_early(collect, name, state):
    table = collect(name)
    after = tiny_pipeline.NODES.index("Trainer") + 1
    found = states(table)
    assert found["Trainer"] == state
    assert {found[n] for n in tiny_pipeline.NODES[after:]} == {"not reached"}
    assert found["FeatureExtractor"] == "cached"
    assert table.pushed is None
    assert "nothing was pushed; version" in table.text().splitlines()[-1]


def test_the_error_is_told_where_it_happened(collect):
    table = collect("failed", error="the loss is\tnot finite\nmore of it\n")
    assert outcome(table, "Trainer") == "the loss is not finite"
    [row] = [r for r in table.rows if r.details.get("error")]
    assert row.node == "Trainer"
    assert row.details["error"] == "the loss is\tnot finite\nmore of it\n"
    assert sum("not finite" in x for x in table.text().splitlines()) == 1
    # A run in which nothing failed has no place for one.
    assert collect("same", error="an error") == collect("same")


def test_a_node_that_was_passed_over(collect):
    table = collect("first", ["ClipExampleGen", "Tuner", "Trainer", "Late"])
    assert states(table) == {
        "ClipExampleGen": "ran",
        "Tuner": "skipped",
        "Trainer": "ran",
        "Late": "not reached",
    }


def test_without_a_list_the_nodes_that_were_reached(collect):
    found = states(collect("failed", None))
    assert set(found) == set(tiny_pipeline.NODES[:5])
    assert next(iter(found)) == "ClipExampleGen"
    assert list(found)[-1] == "Trainer"


def test_the_text_is_one_line_a_node(collect):
    lines = collect("second").text().splitlines()
    assert len(lines) == 1 + 1 + len(tiny_pipeline.NODES) + 1
    assert lines[1].split() == ["node", "state", "seconds", "outcome"]
    begin = lines[1].index("state")
    assert all(line[begin - 1] == " " for line in lines[2:-1])
    assert {line[begin:].split()[0] for line in lines[2:-1]} == {
        "ran",
        "cached",
    }


def test_it_is_read_back_as_written(collect, tmp_path):
    table = collect("unservable")
    path = tmp_path / "run.json"
    path.write_text(json.dumps(table.to_dict()))
    again = run_table.load(str(path))
    assert again == table
    assert again.text() == table.text()
    assert json.loads(path.read_text())["note"] == table.note()


@pytest.mark.parametrize("text", ["{}", "[", '{"rows": [{"a": 1}]}'])
def test_a_damaged_table(tmp_path, text):
    path = tmp_path / "run.json"
    path.write_text(text)
    with pytest.raises(EmorecError, match="no table of a run") as caught:
        run_table.load(str(path))
    assert "\n" not in str(caught.value)


def test_where_nothing_is_served(collect, tmp_path):
    table = collect("worse", serving_dir=str(tmp_path))
    assert table.note() == "nothing was pushed; nothing is served yet"
    assert table.note(then=True) == (
        "nothing was pushed; nothing was served then"
    )


def test_a_version_that_is_not_complete_is_not_served(history, collect):
    world = history.folder / tiny_pipeline.SERVING
    half = world / "99999999999"
    half.mkdir()
    try:
        (half / "assets").mkdir()
        assert collect("second").served == history.versions[1]
    finally:
        (half / "assets").rmdir()
        half.rmdir()


def test_no_such_run(history, capsys):
    done = commands.here(
        capsys,
        "pipeline",
        "status",
        f"--metadata={history.folder / tiny_pipeline.METADATA}",
        "--run=yesterday",
    )
    assert done.code == 1
    assert done.fault() == (
        "emorec pipeline status: `--run` must be a run of tiny; the newest "
        f"are {', '.join(list(history.ids.values())[:-4:-1])}. Received: "
        "yesterday"
    )
