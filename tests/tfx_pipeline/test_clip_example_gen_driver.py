"""ClipExampleGen's choice of an input, its parameters, and its cache's key."""

import ast
import json
import os
import pathlib
import shutil

import pytest
from testing import clip_runs
from tfx.components import FileBasedExampleGen
from tfx.proto import range_config_pb2

from emorec.errors import ConfigError, UsageError
from tfx_pipeline.components import clip_example_gen

ROOT = pathlib.Path(clip_example_gen.__file__).resolve().parents[2]


@pytest.fixture
def few(sample_set):
    return clip_runs.few_rows(sample_set)


@pytest.fixture
def base(few, tmp_path):
    """A folder with a manifest of `few`."""
    return clip_runs.write_manifest(
        tmp_path / "in" / "manifest.csv", few
    ).parent


# Driver.


def spans(base, few, *places):
    for place in places:
        clip_runs.write_manifest(base / place / "manifest.csv", few)


def test_the_newest_span_and_version_are_taken(few, tmp_path):
    spans(tmp_path, few, "span-2/v9", "span-10/v1", "span-10/v3", "span-10/v20")
    pattern = "span-{SPAN}/v{VERSION}/manifest.csv"
    found = clip_runs.driven(input_base=str(tmp_path), manifest=pattern)
    assert (found["span"], found["version"]) == (10, 20)
    (split,) = json.loads(found["input_config"])["splits"]
    assert split["pattern"] == "span-10/v20/manifest.csv"
    fixed = range_config_pb2.RangeConfig(
        static_range=range_config_pb2.StaticRange(
            start_span_number=2, end_span_number=2
        )
    )
    found = clip_runs.driven(
        input_base=str(tmp_path), manifest=pattern, range_config=fixed
    )
    assert (found["span"], found["version"]) == (2, 9)


def test_the_fingerprint_is_that_of_the_videos(sample_set, tmp_path):
    row = clip_runs.rows_of(sample_set, split=["train"])[0]
    video = tmp_path / "a.mp4"
    shutil.copy(row["video"], video)
    rows = [{**row, "video": "a.mp4"}]
    path = clip_runs.write_manifest(tmp_path / "manifest.csv", rows)

    def found():
        properties = clip_runs.driven(input_base=str(tmp_path))
        return properties["input_fingerprint"]

    first = found()
    assert found() == first
    path.touch()
    assert found() == first, "the manifest's time is not its content"
    (tmp_path / "other.mp4").write_bytes(b"not named")
    assert found() == first
    times = os.stat(video)
    os.utime(video, ns=(times.st_atime_ns, times.st_mtime_ns + 1_000_000))
    touched = found()
    assert touched != first
    with video.open("ab") as file:
        file.write(b"0")
    os.utime(video, ns=(times.st_atime_ns, times.st_mtime_ns))
    longer = found()
    assert longer not in (first, touched)
    clip_runs.write_manifest(path, [{**rows[0], "label": "sad"}])
    assert found() not in (first, touched, longer)


def test_a_file_of_labels_is_part_of_the_input(base, tmp_path):
    labels = tmp_path / "labels.txt"
    prints = set()
    for text in ("happy\nsad\n", "sad\nhappy\n"):
        labels.write_text(text)
        found = clip_runs.driven(input_base=str(base), labels=str(labels))
        prints.add(found["input_fingerprint"])
    assert len(prints) == 2


def test_the_fingerprint_of_prepared_shards(prepared, tmp_path):
    shutil.copytree(prepared.path, tmp_path / "data")
    arguments = {"input_base": str(tmp_path), "data": "data"}
    first = clip_runs.driven(**arguments)["input_fingerprint"]
    assert clip_runs.driven(**arguments)["input_fingerprint"] == first
    shard = next((tmp_path / "data").glob("train-*.tfrecord"))
    with shard.open("ab") as file:
        file.write(b"0")
    assert clip_runs.driven(**arguments)["input_fingerprint"] != first


@pytest.mark.parametrize(
    "pattern, problem",
    [
        ("span-{SPAN}/none.csv", "no manifest of a span was found"),
        ("{SPAN}-{SPAN}/manifest.csv", "Only one {SPAN} is allowed"),
        ("span-{SPAN}/manifest.csv", "write {SPAN:2} for two digits"),
    ],
)
def test_a_span_that_is_not_there(few, tmp_path, pattern, problem):
    spans(tmp_path, few, "span-03")
    # The driver leaves it to the executor, whose failure TFX records.
    properties = clip_runs.driven(input_base=str(tmp_path), manifest=pattern)
    with pytest.raises(UsageError) as caught:
        clip_runs.Run(tmp_path / "out", 1, properties).do()
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_digits_with_leading_zeros(few, tmp_path):
    spans(tmp_path, few, "span-03", "span-12")
    found = clip_runs.driven(
        input_base=str(tmp_path), manifest="span-{SPAN:2}/manifest.csv"
    )
    assert found["span"] == 12


# Component.


def test_it_is_a_file_based_example_gen():
    # KubeflowV2DagRunner asks for this, and runs TFX's driver then.
    made = clip_example_gen.ClipExampleGen(input_base="gs://bucket/clips")
    assert isinstance(made, FileBasedExampleGen)
    assert made.id == "ClipExampleGen"
    assert set(made.outputs) == {"examples", "dead_letters"}


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"manifest": "a", "data": "b"}, UsageError, "not both"),
        ({"people": "some"}, UsageError, "main.*'some'"),
        ({"max_failed_share": 2}, UsageError, "`max_failed_share` must be 0"),
        ({"complete_splits": ["eval"]}, UsageError, "`complete_splits`.*eval"),
        ({"config": {"clip": {"size": 1}}}, ConfigError, "size"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        clip_example_gen.ClipExampleGen(input_base="here", **arguments)


def emorec_imports(module: str) -> set[str]:
    """The modules of ours that one imports, packages' members included."""
    path = ROOT / f"{module.replace('.', '/')}.py"
    if not path.exists():
        return set()
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [
                node.module,
                *(f"{node.module}.{a.name}" for a in node.names),
            ]
        found.update(n for n in names if n.split(".")[0] == "emorec")
    return found


def test_the_code_hash_covers_what_the_executor_runs():
    start = "tfx_pipeline.components.clip_example_gen_executor"
    todo, seen = {start, "tfx_pipeline.beam_shards"}, set()
    while todo:
        module = todo.pop()
        seen.add(module)
        todo |= emorec_imports(module) - seen
    files = {f"{m.replace('.', '/')}.py" for m in seen}
    used = {f for f in files if (ROOT / f).exists()}
    # They raise, start processes and place arrays; no record is other for a
    # change there.
    used -= {
        "emorec/aligned.py",
        "emorec/errors.py",
        "emorec/data/processes.py",
        "emorec/features/lean_tensorflow.py",
    }
    listed = clip_example_gen.CODE
    assert used <= {f for f in used if f.startswith(listed)}, sorted(
        f for f in used if not f.startswith(listed)
    )
