"""ONNX Runtime alone: the same answers, and what it says of bad folders."""

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
import tensorflow as tf
from testing import commands
from testing.videos import write_video

from emorec import local_backend, predict
from emorec.data import keys, records
from emorec.errors import EmorecError, ModelError, RecordError
from emorec.evaluation import evaluate
from emorec.export import names
from emorec.onnx_backend import OnnxBackend, decode_jpegs
from emorec.training import bundle, graphs
from emorec.video import clip as video_clip
from emorec.video.faces import FaceDetector

STREAMS = ("face", "context")
REMEDY = "make it again with `emorec export --format onnx`"
MAKE_ONE = "make one with `emorec export --format onnx`"


@pytest.fixture(scope="module")
def ours(onnx_dir):
    return OnnxBackend(onnx_dir)


@pytest.fixture(scope="module")
def local(model_dir):
    # In float32, as what is exported.
    made = graphs.of(bundle.load(model_dir)).with_bfloat16("none")
    return local_backend.LocalBackend(made)


@pytest.fixture(scope="module")
def videos(sample_set):
    return [str(p) for p in sorted(sample_set.parent.rglob("*.mp4"))[:3]]


@pytest.fixture(scope="module")
def results(local, videos):
    """The answers of TensorFlow, its own faces included."""
    detector = FaceDetector(local.config.detector)
    return list(predict.predict_videos(videos, local, detector))


@pytest.fixture
def copy(onnx_dir, tmp_path):
    """A copy of the directory that a test may damage."""
    return pathlib.Path(shutil.copytree(onnx_dir, tmp_path / "copy"))


def write(folder, name, data):
    """Puts other bytes in a file's place, and their hash into onnx.json."""
    (folder / name).write_bytes(data)
    path = folder / names.ONNX_JSON
    values = json.loads(path.read_text())
    values["files"][name] = hashlib.sha256(data).hexdigest()
    path.write_text(json.dumps(values))


def describe(folder, **changes):
    """Changes the description; None takes a key away."""
    values = json.loads((folder / names.DESCRIPTION).read_text()) | changes
    values = {k: v for k, v in values.items() if v is not None}
    write(folder, names.DESCRIPTION, json.dumps(values).encode())


def refused(folder) -> str:
    """Returns what is said of a directory, less its path."""
    with pytest.raises(ModelError) as caught:
        OnnxBackend(folder).engine()
    text = str(caught.value)
    assert text.startswith(f"{folder}: ")
    assert "\n" not in text and len(text) < 700
    return text.removeprefix(f"{folder}: ")


def test_videos_have_the_answers_of_tensorflow(ours, results, videos):
    detector = FaceDetector(ours.config.detector, ours.engine())
    found = list(predict.predict_videos(videos, ours, detector))
    assert len(found) == len(results) == 3
    for a, b in zip(results, found, strict=True):
        n = a.clip.frames_with_face
        assert n == b.clip.frames_with_face == 6
        np.testing.assert_allclose(a.clip.boxes, b.clip.boxes, atol=0.05)
        assert b.answer.probabilities.dtype == np.float32
        np.testing.assert_allclose(
            a.answer.probabilities, b.answer.probabilities, atol=1e-4, rtol=0
        )
        assert b.answer.attention.shape == (n, n)
        np.testing.assert_allclose(
            a.answer.attention, b.answer.attention, atol=1e-4, rtol=0
        )
        assert a.label == b.label
    apart = found[0].answer.probabilities - found[2].answer.probabilities
    assert np.abs(apart).max() > 1e-3, "all answers are alike"


def test_the_same_crops_have_nearly_equal_answers(ours, results):
    answers = ours.predict([r.clip for r in results])
    for a, b in zip(results, answers, strict=True):
        np.testing.assert_allclose(
            a.answer.probabilities, b.probabilities, atol=1e-6, rtol=0
        )
        np.testing.assert_allclose(
            a.answer.attention, b.attention, atol=1e-6, rtol=0
        )


def shortened(clip, n):
    cut = {k: getattr(clip, k)[:n] for k in ("times", "boxes", *STREAMS)}
    return dataclasses.replace(clip, **cut)


def test_clips_of_unequal_lengths_do_not_change_each_other(ours, results):
    cut = [shortened(r.clip, n) for r, n in zip(results, (6, 1, 3))]
    for clip, answer in zip(cut, ours.predict(cut), strict=True):
        (alone,) = ours.predict([clip])
        np.testing.assert_allclose(
            answer.probabilities, alone.probabilities, atol=1e-6, rtol=0
        )
        assert answer.attention.shape == alone.attention.shape
        np.testing.assert_allclose(answer.attention.sum(1), 1, rtol=1e-5)


def test_encoders_take_batches_of_the_config(copy, ours, results):
    changed = ours.config.override(["features.batch_frames=4"])
    describe(copy, config=changed.to_dict())
    (small,) = OnnxBackend(copy, threads=1).predict([results[0].clip])
    np.testing.assert_allclose(
        small.probabilities, results[0].answer.probabilities, atol=1e-6, rtol=0
    )


def test_it_says_what_it_is(ours, local):
    plain = ours.config.override(["features.bfloat16=none"])
    assert plain == local.config
    assert ours.labels == local.labels
    assert ours.description == local.description


def test_records_have_the_answers_of_tensorflow(ours, prepared, model_dir):
    expected = evaluate.with_bundle(prepared, "test", bundle.load(model_dir))
    found = evaluate.with_backend(prepared, "test", ours)
    assert len(found) == len(expected) > 0
    for a, b in zip(expected, found, strict=True):
        assert (a.row, a.label_id) == (b.row, b.label_id)
        np.testing.assert_allclose(
            a.probabilities, b.probabilities, atol=1e-5, rtol=0
        )


def test_records_without_a_face_or_without_crops(ours, prepared):
    example = next(records.read(prepared.files("test")[0]))
    data = example.SerializeToString()
    (expected,) = ours.serving_default([data])
    assert expected.sum() == pytest.approx(1, abs=1e-5)
    for key in (keys.FRAME_TIME, keys.FACE_JPEG, keys.CONTEXT_JPEG):
        example.features.feature[key].Clear()
    empty = example.SerializeToString()
    none, one, last = ours.serving_default([empty, data, empty])
    assert none.tolist() == last.tolist() == [0] * len(expected)
    np.testing.assert_allclose(one, expected, atol=1e-6)
    assert ours.serving_default([empty]).tolist() == [[0] * len(expected)]
    example = tf.train.Example.FromString(data)
    del example.features.feature[keys.CONTEXT_JPEG].bytes_list.value[-1]
    with pytest.raises(RecordError) as caught:
        ours.serving_default([example.SerializeToString()])
    assert str(caught.value).startswith(
        "a record must hold a crop for every time. Received: "
    )
    assert "of the context stream" in str(caught.value)


def encoded(size, quality=95):
    rng = np.random.default_rng(size)
    image = rng.integers(0, 256, (size, size, 3), np.uint8)
    smooth = cv2.GaussianBlur(image, (9, 9), 3)
    return [video_clip.encode_jpeg(i, quality) for i in (image, smooth)]


def huge() -> bytes:
    """A small JPEG that says to have 65,000 x 65,000 pixels."""
    data = encoded(32)[0]
    at = data.index(b"\xff\xc0") + 5
    size = (65_000).to_bytes(2, "big")
    return data[:at] + size * 2 + data[at + 4 :]


def test_crops_have_the_pixels_of_the_graph(results):
    crops = [j for r in results for j in (*r.clip.face, *r.clip.context)]
    for size, jpegs in ((224, crops + encoded(224)), (64, encoded(64, 40))):
        expected = records.decode_jpegs(tf.constant(jpegs), size).numpy()
        found = decode_jpegs(jpegs, size)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, expected)
    assert decode_jpegs([], 64).shape == (0, 64, 64, 3)


@pytest.mark.real
def test_real_crops_have_the_pixels_of_the_graph(ours, test_data):
    detector = FaceDetector(ours.config.detector, ours.engine())
    seen = 0
    for path in sorted((test_data / "clips" / "labelled").glob("*.mp4"))[:1]:
        result = next(predict.predict_video(str(path), ours, detector))
        jpegs = [*result.clip.face[:8], *result.clip.context[:8]]
        expected = records.decode_jpegs(tf.constant(jpegs), 224).numpy()
        np.testing.assert_array_equal(decode_jpegs(jpegs, 224), expected)
        seen += len(jpegs)
    assert seen == 16


@pytest.mark.parametrize(
    "data, received",
    [
        (b"", "0 bytes"),
        (b"\xff\xd8\xff no image \xff\xd9", "15 bytes"),
        (encoded(32)[0][:-100], " bytes"),
        (cv2.imencode(".png", np.zeros((32, 32, 3), np.uint8))[1], " bytes"),
        (huge(), " bytes"),
        (encoded(64)[0], "of 64 x 64 pixels"),
    ],
)
def test_crops_that_are_none(data, received):
    with pytest.raises(RecordError) as caught:
        decode_jpegs([encoded(32)[0], bytes(data)], 32)
    assert str(caught.value).startswith(
        "a crop must be a JPEG image of 32 x 32 pixels. Received: "
    )
    assert str(caught.value).endswith(received)


def test_a_folder_that_is_none(tmp_path):
    absent = tmp_path / "absent"
    for path, problem in (
        (absent, "No such file or directory"),
        (tmp_path, "No such file or directory"),
    ):
        assert refused(path) == (
            f"no ONNX directory of emorec (onnx.json: {problem}); {MAKE_ONE}"
        )
    (tmp_path / "onnx.json").mkdir()
    assert "onnx.json: no file of at most" in refused(tmp_path)


NEEDED = (
    names.DESCRIPTION,
    names.ONNX_MODEL,
    *names.ONNX_NETS,
    *map(names.onnx_encoder, STREAMS),
)


@pytest.mark.parametrize("name", NEEDED)
def test_every_file_is_needed_and_checked(copy, name):
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    changed = (
        f"{name} is not the file that was exported: its SHA-256 is another "
        f"than in onnx.json; {REMEDY}"
    )
    assert refused(copy) == changed
    (copy / name).unlink()
    assert refused(copy) == (
        f"no ONNX directory of emorec ({name}: No such file or directory); "
        f"{MAKE_ONE}"
    )


@pytest.mark.parametrize("name", NEEDED[1:])
def test_files_that_are_no_networks(copy, name):
    good = (copy / name).read_bytes()
    for data in (b"", b"no network", good[: len(good) // 2], good[1000:]):
        write(copy, name, data)
        text = refused(copy)
        assert text.startswith(f"{name} cannot be run by onnxruntime ")
        assert text.endswith(REMEDY)


@pytest.mark.parametrize(
    "text, problem",
    [
        ("{", "onnx.json holds no JSON ("),
        ("[" * 100_000, "onnx.json holds no JSON ("),
        ("[]", "onnx.json must have the format 1. Received: None; "),
        ('{"format": 2}', "onnx.json must have the format 1. Received: 2; "),
        ('{"format": 1}', "onnx.json lists no `files` with their SHA-256; "),
        (
            '{"format": 1, "files": {}}',
            "emorec.json is not the file that was exported: ",
        ),
    ],
    ids=["cut", "deep", "list", "newer", "no files", "empty"],
)
def test_descriptions_of_files_that_are_none(copy, text, problem):
    (copy / names.ONNX_JSON).write_text(text)
    assert refused(copy).startswith(problem)


@pytest.mark.parametrize(
    "changes, problem",
    [
        ({"config": None}, "the model's description is not complete ("),
        ({"labels": None}, "the model's description is not complete ("),
        ({"inputs": None}, "(`inputs` must name inputs of face, context)"),
        ({"inputs": "face"}, "(`inputs` must name inputs of face, context)"),
        ({"inputs": ["../x"]}, "(`inputs` must name inputs of face, context)"),
        (
            {"inputs": ["face_features"]},
            "model.onnx is another network than emorec.json describes: it "
            "must take face_features, mask and give logits. Received: "
            "context_features, face_features, mask and attention, logits; ",
        ),
        (
            {"inputs": ["face_maps", "context_features"]},
            "face_encoder.onnx is another network than emorec.json "
            "describes: it must take images and give maps. Received: images "
            "and features; ",
        ),
    ],
)
def test_descriptions_of_another_model(copy, changes, problem):
    describe(copy, **changes)
    assert problem in refused(copy)


def test_a_description_that_is_none(copy):
    for text in ("[1]", "null", '"text"'):
        write(copy, names.DESCRIPTION, text.encode())
        assert "description is not complete" in refused(copy)
    write(copy, names.DESCRIPTION, b"\xff{")
    assert refused(copy).startswith("emorec.json holds no JSON (")


def test_networks_in_each_others_place(copy, results):
    rnet, onet = names.ONNX_NETS[1:]
    write(copy, names.ONNX_MODEL, (copy / onet).read_bytes())
    assert refused(copy).startswith("model.onnx is another network than ")


def test_answers_of_another_shape(copy, results):
    labels = {"name": "auto", "names": ["calm", "glad"]}
    describe(copy, labels=labels)
    with pytest.raises(ModelError) as caught:
        OnnxBackend(copy).predict([results[0].clip])
    assert str(caught.value) == (
        f"{copy}: model.onnx must answer in the shape [1, 2]. "
        f"Received: [1, 8]; {REMEDY}"
    )


def test_crops_of_another_size(copy, ours):
    config = ours.config.override(["clip.crop_size=64"])
    describe(copy, config=config.to_dict())
    clip = video_clip.Clip(
        track=0,
        window=0,
        start=0,
        end=1,
        times=np.zeros(2, np.float32),
        boxes=np.zeros((2, 4), np.float32),
        face=tuple(encoded(64)),
        context=tuple(encoded(64)),
        frames_total=2,
        frame_size=(64, 64),
    )
    with pytest.raises(ModelError) as caught:
        OnnxBackend(copy).predict([clip])
    assert "face_encoder.onnx cannot be run by onnxruntime" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_onnxruntime(onnx_dir, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EmorecError) as caught:
        OnnxBackend(onnx_dir)
    text = str(caught.value)
    assert text.startswith("running a model of ONNX needs onnxruntime (")
    assert text.endswith("; install emorec[onnx-runtime]")


# A module that is None here cannot be imported, as if it were not installed.
ALONE = """
import sys
absent = ("tensorflow", "keras", "mtcnn", "tf2onnx", "onnx", "grpc", "h5py")
sys.modules.update(dict.fromkeys(absent))
from emorec.cli.main import main
code = main(sys.argv[1:])
found = {m.split(".")[0] for m, module in sys.modules.items() if module}
print("LOADED", *sorted(found & {*absent, "onnxruntime"}), file=sys.stderr)
sys.exit(code)
"""


def alone(*args):
    return subprocess.run(
        [sys.executable, "-c", ALONE, *map(str, args)],
        capture_output=True,
        text=True,
        env=commands.environment(),
        timeout=120,
    )


def test_the_command_needs_no_tensorflow(onnx_dir, results, videos, tmp_path):
    page = tmp_path / "report.html"
    # Nor to hide the faces of the report.
    flags = [f"--report={page}", "--blur_faces", "--quiet"]
    done = alone("predict", *videos, f"--onnx={onnx_dir}", *flags)
    assert done.returncode == 0, done.stderr
    assert "RANDOM frozen weights" in done.stderr
    assert done.stderr.splitlines()[-1] == "LOADED onnxruntime"
    found = [json.loads(line) for line in done.stdout.splitlines()]
    for a, b in zip([r.to_dict() for r in results], found, strict=True):
        for x, y in zip(a["per_frame"], b["per_frame"], strict=True):
            assert x["time"] == y["time"]
            np.testing.assert_allclose(x["box"], y["box"], atol=0.2)
        for name, p in a["probabilities"].items():
            assert b["probabilities"][name] == pytest.approx(p, abs=1e-4)
    assert page.read_text().count("data:image/jpeg;base64,") > 6
    assert "The faces that were found in the pictures are hidden" in (
        page.read_text()
    )


def test_the_command_names_what_is_wrong(tmp_path, videos):
    done = alone("predict", videos[0], f"--onnx={tmp_path}")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"emorec predict: {tmp_path}: no ONNX directory of emorec (onnx.json: "
        f"No such file or directory); {MAKE_ONE}",
        "LOADED onnxruntime",
    ]
    done = alone("predict", videos[0], "--onnx=a", "--model_dir=b")
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == (
        "emorec predict: give exactly one of --model_dir, --saved_model, "
        "--onnx, --server, --preset. Received: --model_dir, --onnx"
    )


def test_a_video_without_a_face(onnx_dir, tmp_path, capsys):
    black = [np.zeros((96, 128, 3), np.uint8)] * 6
    path = write_video(
        tmp_path / "black.mp4", fps=24, size=(128, 96), pictures=black
    )
    done = commands.here(capsys, "predict", path, f"--onnx={onnx_dir}")
    assert done.code == 0
    assert json.loads(done.out)["message"] == predict.NO_FACE


def test_evaluate(onnx_dir, model_dir, prepared, tmp_path, capsys):
    made = {}
    for flag in (f"--onnx={onnx_dir}", f"--model_dir={model_dir}"):
        folder = tmp_path / flag[2:6]
        done = commands.here(
            capsys,
            "evaluate",
            f"--data_dir={prepared.path}",
            f"--output_dir={folder}",
            "--quiet",
            flag,
        )
        assert done.code == 0, done.err
        made[flag] = json.loads((folder / "metrics.json").read_text())
        assert os.path.getsize(folder / "predictions.csv") > 100
    a, b = (m.pop("metrics") for m in made.values())
    assert a["acc"] == b["acc"] and a["n"] == b["n"] > 0
    one, other = made.values()
    assert one == other
