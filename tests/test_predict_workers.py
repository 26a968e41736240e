"""Predictions in several processes, with a backend that needs no network."""

import functools
import multiprocessing
import os

import pytest
from testing import toy_prediction
from testing.videos import write_video

from emorec import predict, predict_workers
from emorec.errors import EmorecError, ModelError
from emorec.onnx_backend import OnnxBackend


def job(make=toy_prediction.make, **values):
    return predict_workers.Job(make, workers=2, **values)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    names = [
        str(write_video(folder / f"{i}.mp4", 3 + 5 * i, fps=8))
        for i in range(6)
    ]
    (folder / "bad.mp4").touch()
    return [*names[:2], str(folder / "bad.mp4"), *names[2:]]


def test_results_are_those_of_one_process_in_order(videos):
    backend, detector = toy_prediction.make()
    expected = list(predict.predict_videos(videos, backend, detector))
    progress = []
    with predict_workers.Workers(job(pictures=2)) as workers:
        assert workers.description() == {"system": "toy", "info": {}}
        found = list(workers.predict(videos, progress.append))
        assert [r.to_dict() for r in found] == [r.to_dict() for r in expected]
        assert progress == list(range(1, 8))
        again = [r.video for r in workers.predict(videos[:1] * 3)]
        assert again == videos[:1] * 3
    assert not multiprocessing.active_children()
    # A report needs the pictures of a video's first clips at most.
    for a, b in zip(expected, found, strict=True):
        if a.error is not None:
            assert "is empty" in b.error
            continue
        if a.whole:
            assert b.to_dict() == a.to_dict()
            continue
        with_pictures = a.clip.start < 1
        assert (b.clip.face == a.clip.face) is with_pictures
        assert (b.answer.attention is not None) is with_pictures
        assert len(b.clip.face) == len(a.clip.face)
        assert b.label == a.label


def test_leaving_early_ends_the_workers(videos):
    with predict_workers.Workers(job()) as workers:
        results = workers.predict(videos * 20)
        assert next(results).video == videos[0]
        folder = workers._folder.name
    assert not multiprocessing.active_children()
    assert not os.path.exists(folder)


def test_a_killed_worker_is_one_line(videos):
    with (
        pytest.raises(EmorecError) as caught,
        predict_workers.Workers(job(toy_prediction.die)) as workers,
    ):
        list(workers.predict(videos))
    assert str(caught.value) == (
        "a worker process was killed, perhaps for want of memory; run the "
        "command again with fewer --workers"
    )
    assert not multiprocessing.active_children()


def test_an_error_of_making_comes_as_it_is(tmp_path):
    make = functools.partial(OnnxBackend, str(tmp_path / "absent"))
    with (
        pytest.raises(ModelError, match="absent: no ONNX directory"),
        predict_workers.Workers(job(make)) as workers,
    ):
        workers.description()
