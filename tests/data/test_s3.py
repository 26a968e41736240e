"""Records, data sets, manifests and videos on a real S3 server (moto)."""

import json
import pathlib
import re
import subprocess
import sys

import pytest
from testing import s3

from emorec.data import dataset, manifest, prepare, records

CONFIG = ["data.shard_rows=2", "data.train_phases=1", "video.fps=4"]
CHECK = "check the address, the bucket, its credentials and the network"

# What a test asks, run in one process: it takes seconds to start one.
_WORK = """
import json, pathlib, sys, tempfile
from emorec.data import files

url, clip = sys.argv[1:3]
found = {"loaded": ["tensorflow_io" in sys.modules]}

def fault(call, *args):
    try:
        return f"no error: {call(*args)}"
    except errors.EmorecError as e:
        return str(e)

from emorec import errors
from emorec.config import Config
from emorec.data import dataset, keys, manifest, prepare, records, shards

# Records.
made = list(records.read(clip))
for name in ("plain.tfrecord", "zipped.tfrecord.gz"):
    path = f"{url}/records/{name}"
    count = records.write(path, made)
    found[name] = [count, list(records.read(path)) == made]
found["loaded"].append("tensorflow_io" in sys.modules)
found["sizes"] = [files.stat(f"{url}/records/plain.tfrecord")[0]]
found["absent record"] = fault(list, records.read(f"{url}/no.tfrecord"))
found["cut record"] = fault(list, records.read(f"{url}/cut.tfrecord.gz"))

# Files.
with tempfile.TemporaryDirectory() as folder:
    tempfile.tempdir = folder
    files.write_json(f"{url}/tree/a.json", {"a": 1})
    files.copy_tree(f"{url}/tree", f"{folder}/down")
    found["down"] = files.read_json(f"{folder}/down/a.json", "", "")
    files.makedirs(f"{folder}/down/b/c")
    files.write_json(f"{folder}/down/b/c/d.json", {"d": 2})
    files.copy_tree(f"{folder}/down", f"{url}/up", last="a.json")
    files.copy_tree(f"{url}/up", f"{url}/over/there")
    found["tree"] = [
        files.listing(f"{url}/up"),
        files.is_folder(f"{url}/up/b"),
        files.is_folder(f"{url}/up/a.json"),
        files.exists(f"{url}/up/a"),
        files.read_json(f"{url}/over/there/b/c/d.json", "", ""),
    ]
    files.remove(f"{url}/up/b")
    files.remove(f"{url}/up/none")
    found["removed"] = files.listing(f"{url}/up")
    found["root"] = [files.is_folder(url), "up" in files.listing(url)]
    with files.local_copy(f"{url}/tree/a.json") as local:
        found["local"] = [local.name, local.read_text()]
    found["gone"] = local.exists()
    try:
        with files.atomic(f"{url}/tree/b.json") as temporary:
            temporary.write_text("half")
            raise KeyError
    except KeyError:
        found["half"] = files.exists(f"{url}/tree/b.json")
    tempfile.tempdir = None
    found["left"] = sorted(p.name for p in pathlib.Path(folder).iterdir())

# What is not there.
none = "s3://no-such-bucket/x"
found["no bucket"] = {
    "write": fault(records.write, f"{none}.tfrecord", made),
    "json": fault(files.write_json, f"{none}.json", {}),
    "read": fault(files.read_json, f"{none}.json", "thing", "make it"),
    "manifest": fault(manifest.read, f"{none}.csv"),
    "data": fault(dataset.load, none),
    "copy": fault(files.local_copy(none).__enter__),
}

# A data set.
config = Config().override(sys.argv[3].split())
read = manifest.read(f"{url}/clips/labels.csv")
found["rows"] = [[row.video, row.path] for row in read.rows]
found["sha256"] = read.sha256
data = prepare.prepare(read, f"{url}/data", config)
found["failures"] = data.failures
found["files"] = data.files("train")
again = dataset.load(f"{url}/data")
assert again.splits == data.splits and again.path == f"{url}/data"
def stop(waiting): assert waiting == [], waiting
once_more = prepare.prepare(read, f"{url}/data", config, write=stop)
found["fingerprint"] = [data.fingerprint, once_more.fingerprint]
found["videos"] = [
    [records.one(r, keys.VIDEO_PATH), r.SerializeToString().hex()]
    for path in again.files("train") for r in records.read(path)
]
other = config.override(["video.fps=8"])
found["another"] = fault(prepare.prepare, read, f"{url}/data", other)
tasks = prepare.plan(read, f"{url}/next", config, by_split=True)
found["adopted"] = shards.adopt(tasks, [f"{url}/data"])
with tempfile.TemporaryDirectory() as folder:
    down = prepare.prepare(
        read, folder, config, earlier=[f"{url}/next"], write=stop
    )
    found["down fingerprint"] = down.fingerprint
prepare.prepare(read, f"{url}/data", config, overwrite=True, write=
    lambda waiting: found.update(anew=len(waiting)) or
        [shards.write_shard(t) for t in waiting])
missing = f"{url}/clips/missing.csv"
found["missing"] = fault(manifest.read, missing)
small = config.override(["video.max_file_bytes=1000"])
found["too large"] = fault(prepare.prepare, read, f"{url}/small", small)

# Videos to predict for.
from emorec.predict_sources import Sources, expand

found["expanded"] = [
    expand([f"{url}/clips/{name}"])
    for name in ("", "*/*.mp4", "**/bad.mp4", "none*.mp4")
]
def copied(name, most):
    with Sources(most).local(f"{url}/clips/{name}") as path:
        return pathlib.Path(path).read_bytes().hex()
with tempfile.TemporaryDirectory() as folder:
    tempfile.tempdir = folder
    found["copies"] = [
        copied("bad.mp4", 9999),
        fault(copied, "none.mp4", 9999),
        fault(copied, "bad.mp4", 99),
    ]
    tempfile.tempdir = None
    found["copies left"] = [p.name for p in pathlib.Path(folder).iterdir()]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def server():
    with s3.s3_server() as made:
        yield made


@pytest.fixture(scope="module")
def videos(sample_set) -> list[manifest.Row]:
    """Three videos of the split `train`."""
    return manifest.read(str(sample_set)).split("train")[:3]


@pytest.fixture(scope="module")
def found(server, videos, prepared, tmp_path_factory) -> dict:
    """What a process has seen that worked on the server."""
    folder = tmp_path_factory.mktemp("s3")
    for row in videos:
        server.put(row.path, f"clips/videos/{pathlib.Path(row.path).name}")
    (folder / "bad.mp4").write_bytes(b"no video " * 100)
    server.put(folder / "bad.mp4", "clips/bad.mp4")
    first, second, third = (pathlib.Path(r.path).name for r in videos)
    for name, names in (
        (
            "labels",
            [
                f"videos/{first}",
                f"{server.url}/clips/videos/{second}",
                videos[2].path,  # A local one.
                "bad.mp4",
            ],
        ),
        ("missing", [f"videos/{first}", "videos/none.mp4"]),
    ):
        path = folder / f"{name}.csv"
        rows = [f"{name},happy,train" for name in names]
        path.write_text("\n".join(["video,label,split", *rows]) + "\n")
        server.put(path, f"clips/{name}.csv")
    (shard,) = prepared.files("test")
    zipped = folder / "cut.tfrecord.gz"
    records.write(zipped, list(records.read(shard))[:2])
    zipped.write_bytes(zipped.read_bytes()[:-1])
    server.put(zipped, "cut.tfrecord.gz")
    done = server.python(_WORK, server.url, shard, " ".join(CONFIG))
    return json.loads(done.stdout)


def test_records_are_written_and_read(found, server, prepared, tmp_path):
    assert found["plain.tfrecord"] == found["zipped.tfrecord.gz"] == [8, True]
    # What the server has is read without it.
    (shard,) = prepared.files("test")
    for name in ("plain.tfrecord", "zipped.tfrecord.gz"):
        path = tmp_path / name
        path.write_bytes(server.get(f"records/{name}"))
        assert list(records.read(path)) == list(records.read(shard))
    assert found["sizes"] == [(tmp_path / "plain.tfrecord").stat().st_size]
    assert path.read_bytes()[:2] == b"\x1f\x8b"
    # Only the first such path loads it.
    assert found["loaded"] == [False, True]


def test_records_that_are_absent_or_cut(found, server):
    assert found["absent record"] == (
        f"{server.url}/no.tfrecord: there is no such file, or its storage "
        "cannot be reached; write it with `emorec prepare`"
    )
    assert found["cut record"] == (
        f"{server.url}/cut.tfrecord.gz: not a readable TFRecord file "
        "(truncated record); delete it and run the command that wrote it again"
    )


def test_files_and_folders(found, server):
    assert found["down"] == {"a": 1}
    assert found["tree"] == [["a.json", "b"], True, False, False, {"d": 2}]
    assert found["removed"] == ["a.json"]
    assert found["root"] == [True, True]
    assert found["local"] == ["a.json", '{\n  "a": 1\n}\n']
    assert not found["gone"] and not found["half"]
    # Of temporary copies nothing is left.
    assert found["left"] == ["down"]
    assert json.loads(server.get("over/there/a.json")) == {"a": 1}


def test_a_bucket_that_does_not_exist_is_one_line(found):
    none, told = "s3://no-such-bucket/x", {**found["no bucket"]}
    absent = "there is no such file, or its storage cannot be reached"
    missing = "NoSuchBucket: The specified bucket does not exist"
    copied = told.pop("copy")
    assert copied.startswith(f"{none}: cannot be read (")
    assert copied.endswith(f"); {CHECK}") and "\n" not in copied
    assert told == {
        "write": f"{none}.tfrecord: cannot be written ({missing}); {CHECK}",
        "json": f"{none}.json: cannot be written ({missing}); {CHECK}",
        "read": f"{none}.json: no thing ({absent}); make it",
        "manifest": f"{none}.csv: {absent}; give the path of a CSV",
        "data": f"{none}/dataset.json: no description of a data set "
        f"({absent}); make the data set with `emorec prepare`",
    }


def test_a_manifest_and_its_videos(found, server, videos):
    names = [pathlib.Path(row.path).name for row in videos]
    urls = [f"{server.url}/clips/videos/{name}" for name in names]
    local = videos[2].path
    bad = f"{server.url}/clips/bad.mp4"
    assert found["rows"] == [
        [f"videos/{names[0]}", urls[0]],
        [urls[1], urls[1]],
        [local, local],
        ["bad.mp4", bad],
    ]
    digests = manifest.read(
        str(pathlib.Path(videos[0].path).parents[1] / "manifest.csv")
    ).sha256
    wanted = [digests[row.path] for row in videos]
    assert [found["sha256"][p] for p in (*urls[:2], local)] == wanted
    (failure,) = found["failures"]
    # The reason names the video, not the temporary copy.
    assert failure["line"] == 5 and failure["video"] == "bad.mp4"
    assert failure["reason"].startswith(f"{bad}: ")
    assert found["missing"].splitlines() == [
        f"{server.url}/clips/missing.csv: 1 fault",
        "  line 3: video 'videos/none.mp4' cannot be read (there is no such "
        "file, or its storage cannot be reached): "
        f"'{server.url}/clips/videos/none.mp4'",
    ]


def test_a_data_set_on_the_server_is_that_of_a_local_run(
    found, server, videos, tmp_path
):
    root = f"{server.url}/data"
    assert found["files"] == [
        f"{root}/train-00000-of-00002.tfrecord",
        f"{root}/train-00001-of-00002.tfrecord",
    ]
    assert server.keys("data/") == [
        "data/dataset.json",
        "data/plan.json",
        "data/shards/train-00000-of-00002.json",
        "data/shards/train-00001-of-00002.json",
        "data/train-00000-of-00002.tfrecord",
        "data/train-00001-of-00002.tfrecord",
    ]
    path = tmp_path / "manifest.csv"
    rows = [f"{row.path},happy,train" for row in videos]
    path.write_text("\n".join(["video,label,split", *rows]) + "\n")
    config = prepare.Config().override(CONFIG)
    local = prepare.prepare(manifest.read(str(path)), tmp_path / "d", config)
    frames = [
        list(record.features.feature["face/jpeg"].bytes_list.value)
        for shard in local.files("train")
        for record in records.read(shard)
    ]
    made = [
        records.tf.train.Example.FromString(bytes.fromhex(data))
        for _, data in found["videos"]
    ]
    assert [video for video, _ in found["videos"]] == [
        video for video, _ in found["rows"][:3]
    ]
    assert frames == [
        list(record.features.feature["face/jpeg"].bytes_list.value)
        for record in made
    ]


def test_a_data_set_is_gone_on_with_and_guarded(found, server):
    first, second = found["fingerprint"]
    assert first == second == found["down fingerprint"]
    assert found["another"] == (
        f"{server.url}/data: holds a data set of another manifest or config; "
        "choose another --output_dir, or give --overwrite"
    )
    assert found["anew"] == 2
    # Taken over by another folder on the server, in TFX's layout.
    assert found["adopted"] == 2
    assert server.keys("next/") == [
        "next/Split-train/train-00000-of-00002.tfrecord",
        "next/Split-train/train-00001-of-00002.tfrecord",
        "next/shards/train-00000-of-00002.json",
        "next/shards/train-00001-of-00002.json",
    ]


def test_a_video_is_not_copied_beyond_the_bound(found, server):
    assert re.fullmatch(
        rf"{server.url}/clips/labels.csv: none of its 4 videos could be read; "
        rf"the first: {server.url}/clips/videos/\S+: \d+ bytes are over 1000; "
        r"cut it, or raise video.max_file_bytes",
        found["too large"],
    )


def test_videos_to_predict_for(found, server, videos):
    url = f"{server.url}/clips"
    names = sorted(pathlib.Path(row.path).name for row in videos)
    inner = [f"{url}/videos/{name}" for name in names]
    assert found["expanded"] == [
        [f"{url}/bad.mp4", *inner],
        inner,
        [f"{url}/bad.mp4"],
        [f"{url}/none*.mp4"],
    ]
    copy, absent, large = found["copies"]
    assert bytes.fromhex(copy) == b"no video " * 100
    assert absent.startswith(f"{url}/none.mp4: cannot be read (")
    assert large == (
        f"{url}/bad.mp4: over 99 bytes; copy it yourself and name the file, "
        "or raise --max_download_mb"
    )
    assert found["copies left"] == []


@pytest.mark.long
def test_the_commands_take_such_paths(server, videos, model_dir, tmp_path):
    """From videos to a report, by processes that end with code 0."""
    for row in videos:
        server.put(row.path, f"cli/videos/{pathlib.Path(row.path).name}")
    rows = [
        f"videos/{pathlib.Path(row.path).name},{row.label},test"
        for row in videos
    ]
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(["video,label,split", *rows]) + "\n")
    labels = server.put(path, "cli/labels.csv")

    def emorec(*args):
        done = subprocess.run(
            [sys.executable, "-m", "emorec", *map(str, args), "--quiet"],
            capture_output=True,
            text=True,
            env=server.environment(),
            timeout=240,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    data = f"{server.url}/cli/data"
    shown = emorec(
        "prepare",
        f"--manifest={labels}",
        f"--output_dir={data}",
        "--set=data.shard_rows=2",
        "--workers=2",
    )
    assert shown.startswith("test: 3 videos, 3 records, 100.0%")
    shown = emorec(
        "evaluate",
        f"--data_dir={data}",
        f"--model_dir={model_dir}",
        f"--output_dir={tmp_path / 'report'}",
    )
    assert "100.0% of the sampled frames had a face" in shown
    # The features lie beside the records, for the next time.
    assert [k for k in server.keys("cli/data/features") if "00001-of" in k]
    assert dataset.FILE in "".join(server.keys("cli/data"))
