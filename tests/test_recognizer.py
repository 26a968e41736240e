"""The Python interface, on real models and videos of the sample set."""

import concurrent.futures
import gc
import pathlib
import subprocess
import sys
import threading
import types

import numpy as np
import pytest
from testing.videos import write_video

from emorec import load_backend, predict
from emorec.errors import (
    ConfigError,
    ModelError,
    UsageError,
    VideoError,
    WeightsError,
)
from emorec.labels import FER2013
from emorec.predict_crops import decode_jpegs
from emorec.recognizer import EmotionRecognizer
from emorec.results import NO_FACE
from emorec.video import reader

# Of a sample clip of 0.75 s at 8 fps: two windows and one of 2 frames.
EVERY = (0.5, 0.25)


@pytest.fixture(scope="module")
def recognizer(model_dir):
    return EmotionRecognizer.load(model_dir)


@pytest.fixture(scope="module")
def preset():
    return EmotionRecognizer.load("face-average")


@pytest.fixture(scope="module")
def videos(sample_set):
    return [str(p) for p in sorted(sample_set.parent.rglob("*.mp4"))[:3]]


@pytest.fixture(scope="module")
def frames(videos, recognizer):
    """All frames of the first video, and their times."""
    config = recognizer.config.video
    with reader.read_frames(videos[0], config, fps=240.0) as found:
        both = [(f.time, f.image) for f in found]
    return [t for t, _ in both], [image for _, image in both]


def told(results, video="same"):
    """What results say, whatever the video is called."""
    return [{**r.to_dict(), "video": video} for r in results]


def test_predict_gives_what_the_command_gives(recognizer, videos):
    detector = recognizer._new_detector()
    wanted = list(
        predict.predict_video(videos[0], recognizer.backend, detector)
    )
    made = recognizer.predict(videos[0])
    assert made.to_dict() == {
        "results": [r.to_dict() for r in wanted],
        "notes": list(recognizer.notes),
    }
    assert made[0].label in recognizer.labels
    assert "context encoder has RANDOM" in recognizer.notes[0]
    assert recognizer.notes[0] in repr(recognizer)
    assert made.whole[0].answer is made[0].answer


def test_windows_of_a_video_and_the_whole_of_it(recognizer, videos):
    made = recognizer.predict(videos[0], every=EVERY, smooth=0.3)
    spans = [(r.start, r.end, r.whole) for r in made]
    assert spans == [(0, 0.5, False), (0.25, 0.75, False), (0, 0.75, True)]
    (whole,) = made.whole
    assert (whole.windows, whole.frames, whole.frames_with_face) == (2, 6, 6)
    mean = np.mean([r.answer.probabilities for r in made[:2]], 0)
    np.testing.assert_allclose(whole.answer.probabilities, mean, atol=1e-6)
    assert set(made.frames_to_pandas()["smooth_seconds"]) == {0.3}
    halves = recognizer.predict(videos[0], every=0.5)
    assert [r.start for r in halves if not r.whole] == [0, 0.5]
    slow = recognizer.predict(videos[0], fps=4)
    assert slow[0].frames == 3


def test_frames_give_what_their_file_gives(recognizer, videos, frames):
    times, images = frames
    assert len(images) == 12, "twice as many as are analysed"
    wanted = told(recognizer.predict(videos[0], every=EVERY))
    made = recognizer.predict_frames(np.stack(images), times=times, every=EVERY)
    assert {r.video for r in made} == {"frames"}
    assert told(made) == wanted
    # 16 a second, as the times say.
    by_rate = recognizer.predict_frames(images, fps=16, every=EVERY)
    assert told(by_rate) == wanted


def test_a_stream_answers_while_frames_come(recognizer, frames):
    times, images = frames
    taken = []

    def endless():
        for turn in range(200):
            for time, image in zip(times, images):
                taken.append(turn)
                yield turn * 0.75 + time, image

    results = recognizer.stream(endless(), every=0.25)
    first = next(results)
    assert (first.start, first.end, first.video) == (0, 0.25, "stream")
    # Two windows of .25 s, and three batches of two sampled frames.
    assert max(taken) < 4, "it waited for more than it needs"
    results.close()
    length = len(taken)
    again = recognizer.stream(images, fps=16, every=EVERY)
    wanted = recognizer.predict_frames(images, fps=16, every=EVERY)
    assert told(again) == told(wanted)
    assert len(taken) == length


def test_a_stream_from_a_file(recognizer, videos):
    results = recognizer.stream(videos[0], every=EVERY)
    assert told(results) == told(recognizer.predict(videos[0], every=EVERY))


def test_a_stream_left_in_a_cycle_takes_no_threads_along(recognizer, videos):
    wanted = told(recognizer.predict(videos[0], every=EVERY))
    results = recognizer.stream(videos[0], every=EVERY)
    next(results)
    left = [results]
    left.append(left)
    del results, left
    gc.collect()
    with concurrent.futures.ThreadPoolExecutor() as threads:
        again = threads.submit(recognizer.predict, videos[0], every=EVERY)
        assert told(again.result(timeout=60)) == wanted


def test_several_videos_and_a_bad_one(recognizer, videos, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.touch()
    asked = [videos[0], bad, videos[1], videos[1]]
    made = list(recognizer.predict_many(asked, every=EVERY))
    assert [{r.video for r in one} for one in made] == [
        {str(path)} for path in asked
    ]
    assert "is empty" in made[1][0].error and made[1].whole == made[1]
    assert told(made[0]) == told(recognizer.predict(videos[0], every=EVERY))
    assert told(made[2]) == told(made[3])
    with pytest.raises(VideoError, match="is empty"):
        recognizer.predict(bad)


def test_faces_cut_out_give_nearly_what_their_video_gives(preset, videos):
    (wanted,) = preset.predict(videos[0])
    faces = decode_jpegs(wanted.clip.face, preset.config.clip.crop_size)
    (made,) = preset.predict_faces(faces, times=wanted.clip.times)
    assert made.video == "faces" and made.track == 0
    assert (made.start, made.end) == (0, 0.75)
    # Coded as JPEG a second time.
    np.testing.assert_allclose(
        made.answer.probabilities, wanted.answer.probabilities, atol=0.02
    )
    # Of other sizes, not square, at the model's own rate, in two windows.
    many = [faces[0][:, 20:200]] * 33
    results = preset.predict_faces(many)
    assert [(r.frames, r.start, r.end, r.whole) for r in results] == [
        (32, 0, 4, False),
        (1, 4, 4.125, False),
        (33, 0, 4.125, True),
    ]
    assert results[0].clip.context == (b"",) * 32
    # More often than the model looks: the first of each cell is taken.
    dense = preset.predict_faces([faces[0]] * 9, times=np.arange(9) / 24)
    assert dense[0].frames == 3


def test_faces_with_their_surroundings(recognizer, videos, frames):
    _, images = frames
    (wanted,) = recognizer.predict(videos[0])
    size = recognizer.config.clip.crop_size
    made = recognizer.predict_faces(
        decode_jpegs(wanted.clip.face, size),
        context=decode_jpegs(wanted.clip.context, size),
        times=wanted.clip.times,
    )
    np.testing.assert_allclose(
        made[0].answer.probabilities, wanted.answer.probabilities, atol=0.02
    )
    assert made[0].answer.attention.shape == (6, 6)
    whole = recognizer.predict_faces(images[:2], context=images[:2])
    assert whole[0].clip.frame_size == images[0].shape[1::-1]


def test_the_preset_says_what_it_is_and_answers(preset, encoders, videos):
    assert preset.labels == FER2013
    (note,) = preset.notes
    assert "no trained model" in note and "not calibrated" in note
    assert "no trained model" in preset.predict(videos[0])._repr_html_()
    config, labels = predict.parse_description(preset.backend.description)
    assert (config, labels.names) == (preset.config, FER2013)
    (made,) = preset.predict(videos[0])
    # The mean of what the published classifier says of each face.
    faces = decode_jpegs(made.clip.face, preset.config.clip.crop_size)
    each = encoders.face.encode_kinds(faces, ("probabilities",), 8, False)
    np.testing.assert_allclose(
        made.answer.probabilities, each["probabilities"].mean(0), atol=1e-4
    )
    assert not made.calibrated


@pytest.mark.real
def test_the_preset_on_a_real_video(preset, test_data):
    video = test_data / "clips" / "unlabelled" / "fer_test.mp4"
    made = preset.predict(video, every=(2, 1), people="main")
    assert [(r.start, r.whole) for r in made] == [
        *[(float(second), False) for second in range(4)],
        (0.0, True),
    ]
    assert made[-1].label == "happy" and made[-1].coverage > 0.9


def test_the_preset_never_takes_random_weights(tmp_path, monkeypatch):
    monkeypatch.delenv("EMOREC_WEIGHTS_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    # Which ships the file; a module without a spec is none.
    monkeypatch.setitem(sys.modules, "fer", types.ModuleType("fer"))
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with pytest.raises(WeightsError, match="mini-XCEPTION") as e:
        EmotionRecognizer.load("face-average")
    assert "\n" not in str(e.value) and "EMOREC_WEIGHTS_DIR" in str(e.value)


def test_a_model_of_onnx_gives_the_same(model_dir, onnx_dir, videos):
    # To the last digits only without bfloat16.
    recognizer = EmotionRecognizer.load(model_dir, bfloat16="none")
    (wanted,) = recognizer.predict(videos[0])
    other = EmotionRecognizer.load(onnx_dir, threads=1)
    assert type(other.backend).__name__ == "OnnxBackend"
    (made,) = other.predict(videos[0])
    np.testing.assert_allclose(
        made.answer.probabilities, wanted.answer.probabilities, atol=1e-4
    )


def test_a_saved_model_is_told_by_what_is_in_it(base_path, tmp_path):
    for path in (base_path, base_path / "1"):
        assert load_backend._kind_of(path) == "saved_model"
    # Loading the real one takes seconds, and `test_predict` does.
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(ModelError, match="not a SavedModel of emorec"):
        EmotionRecognizer.load(tmp_path)


def test_threads_share_a_recognizer(recognizer, videos):
    wanted = [told(recognizer.predict(v)) for v in videos[:2]]
    made = [None, None]

    def ask(i):
        made[i] = told(recognizer.predict(videos[i]))

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == wanted


def test_a_threshold_is_the_callers(recognizer, videos):
    strict = EmotionRecognizer(recognizer.backend, threshold=1.0)
    assert strict.predict(videos[0])[0].uncertain
    for threshold, uncertain in ((0.0, False), (1.0, True)):
        strict = EmotionRecognizer(recognizer.backend, threshold=threshold)
        images = np.zeros((2, 64, 64, 3), np.uint8)
        made = strict.predict_faces(images, context=images)
        assert made[0].uncertain is uncertain
    with pytest.raises(UsageError, match="0 to 1. Received: 2"):
        EmotionRecognizer.load("face-average", threshold=2)


def test_frames_without_a_face_say_so(preset):
    black = np.zeros((3, 96, 128, 3), np.uint8)
    (made,) = preset.predict_frames(black, fps=8)
    assert made.to_dict()["message"] == NO_FACE and made.frames == 3


def test_a_video_without_a_face(preset, tmp_path):
    pictures = [np.zeros((96, 128, 3), np.uint8)] * 3
    path = write_video(tmp_path / "v.mp4", size=(128, 96), pictures=pictures)
    made = preset.predict(path, every=1.0)
    assert [r.to_dict().get("message") for r in made] == [NO_FACE]
    assert made.people == []


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda r, f: r.predict_frames(f), "`times` in seconds, or their"),
        (lambda r, f: r.predict_frames(f, fps=0), "above 0.* Received: 0"),
        (
            lambda r, f: r.predict_frames(f, fps=8, times=[0, 1]),
            "`times` or `fps`, not both",
        ),
        (lambda r, f: r.predict_frames(f, times=[0]), "as many as the frames"),
        (
            lambda r, f: r.predict_frames(f, times=[1, 0]),
            "do not run backwards. Received: 0.0 after 1.0 for frame 1",
        ),
        (
            lambda r, f: r.predict_frames(f, times=[0, float("nan")]),
            "Received: nan",
        ),
        (
            lambda r, f: r.predict_frames(f / 2, fps=8),
            r"frame 0 must be an RGB picture, uint8 \[H, W, 3\]. "
            r"Received: float64 \[96, 128, 3\]",
        ),
        (lambda r, f: r.predict_frames(f[..., 0], fps=8), r"\[96, 128\]"),
        (lambda r, f: r.predict_frames(f[:, :0], fps=8), "has no pixels"),
        (
            lambda r, f: r.predict_frames(f, fps=8, people="some"),
            "all or main. Received: 'some'",
        ),
        (
            lambda r, f: r.predict_frames(f, fps=8, every="long"),
            "WINDOW,STRIDE",
        ),
        (lambda r, f: r.predict("v", every=(1, 2, 3)), "window, stride"),
        (lambda r, f: r.predict("v", every=[None, 1]), "window, stride"),
        (lambda r, f: r.predict("v", every=-1), "over 0"),
        (lambda r, f: r.predict("v", smooth=-1), "smoothing must be"),
        (lambda r, f: r.predict("0"), "0: is live and may never end; give"),
        (
            lambda r, f: list(r.stream(iter(f))),
            "pairs of seconds and a picture. Received: ndarray as frame 0",
        ),
        (lambda r, f: r.predict_faces([]), "`faces` must hold one"),
        (
            lambda r, f: r.predict_faces(f, context=f[:1]),
            "as many pictures as `faces`. Received: 1 for 2",
        ),
        (
            lambda r, f: r.predict_faces(f, context=[None, 1]),
            "`context` must be an RGB picture",
        ),
        (lambda r, f: r.predict_faces(f, times=[0]), "as many as the frames"),
    ],
)
def test_what_makes_no_sense_is_refused(preset, call, message):
    frames = np.zeros((2, 96, 128, 3), np.uint8)
    with pytest.raises(UsageError, match=message):
        call(preset, frames)


def test_a_model_that_reads_surroundings_asks_for_them(recognizer):
    with pytest.raises(UsageError, match="give `context`"):
        recognizer.predict_faces(np.zeros((1, 64, 64, 3), np.uint8))


def test_a_film_does_not_fill_the_memory(recognizer, frames, monkeypatch):
    _, images = frames
    whole = recognizer.predict_frames(images, fps=16, every=0.25)
    each = [r.picture_bytes for r in whole]
    assert all(each[:3])
    monkeypatch.setattr("emorec.recognizer.PICTURE_BYTES", each[0] + each[1])
    made = recognizer.predict_frames(images, fps=16, every=0.25)
    assert [r.picture_bytes for r in made] == [*each[:2], 0, 0]
    assert told(made) == told(whole)


LIGHT = """
import sys
from emorec.recognizer import EmotionRecognizer
heavy = {"tensorflow", "keras", "matplotlib", "pandas", "grpc"}
print("HEAVY", *sorted(heavy & set(sys.modules)))
"""


def test_the_recognizer_itself_needs_no_tensorflow():
    done = subprocess.run(
        [sys.executable, "-c", LIGHT],
        capture_output=True,
        text=True,
        cwd=pathlib.Path(__file__).parents[1],
        timeout=60,
    )
    assert done.stdout == "HEAVY\n", done.stderr


def test_what_is_no_model_is_told(tmp_path, model_dir):
    for path, what in (
        (tmp_path, "holds no model"),
        (tmp_path / "x", "no such model"),
        ("face-avarage", "no such model"),
    ):
        with pytest.raises(ModelError, match=f"{what}; .* face-average$"):
            load_backend.load(path)
    with pytest.raises(UsageError, match="Received: 'keras'"):
        load_backend.load(model_dir, kind="keras")
    with pytest.raises(UsageError, match="Received: 2 for model_dir"):
        load_backend.load(model_dir, threads=2)
    with pytest.raises(ModelError, match="onnx"):
        load_backend.load(model_dir, kind="onnx")


def test_what_computes_in_bfloat16_is_the_callers(model_dir, onnx_dir):
    made = EmotionRecognizer.load(model_dir, bfloat16="all")
    assert made.config.features.bfloat16 == "all"
    for place, kind in ((onnx_dir, "onnx"), ("face-average", "a preset")):
        with pytest.raises(
            UsageError,
            match=f"`bfloat16` belongs to a model folder; .* 'none' for {kind}",
        ):
            EmotionRecognizer.load(place, bfloat16="none")
    with pytest.raises(ConfigError, match="one of none, context, all"):
        EmotionRecognizer.load(model_dir, bfloat16="some")
