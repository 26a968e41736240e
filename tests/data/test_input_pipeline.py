"""Sampling of records, and the batches of training and evaluation."""

import numpy as np
import pytest
import tensorflow as tf
from testing import features

from emorec.config import Config
from emorec.data import input_pipeline
from emorec.data.input_pipeline import Sampling
from emorec.video import reader

FPS = 8.0
RATES = [3.0, 7.992, 8.0, 8.5, 12.5, 15.0, 16.0, 24000 / 1001, 25.0, 60.0]
STARTS = [0.0, 0.3, 61.5, 7200.1]


def source_times(rate, start, seconds=3.0) -> np.ndarray:
    """Times of a video's frames from `start` on, float64."""
    first = int(np.ceil(start * rate))
    return np.arange(first, first + int(seconds * rate) + 1) / rate


def sampled(times, start, fps) -> np.ndarray:
    """What the reader takes: the first frame of each cell."""
    taken, last = [], -1
    for time in times:
        cell = reader.cell_of(time, start, fps)
        if cell > last:
            taken.append(time)
            last = cell
    return np.array(taken)


def select(times, start, phase=0, phases=2, fps=FPS) -> np.ndarray:
    return input_pipeline.select(
        tf.constant(times, tf.float32),
        tf.constant(start, tf.float32),
        tf.constant(phase),
        Sampling(fps, phases, 32),
    ).numpy()


@pytest.mark.parametrize("phases", [1, 2, 3])
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("rate", RATES)
def test_select_takes_what_sampling_at_fps_would_have_taken(
    rate, start, phases
):
    source = source_times(rate, start)
    dense = sampled(source, start, FPS * phases)
    chosen = select(dense, start, 0, phases)
    wanted = sampled(source, start, FPS)
    assert len(wanted) > 8
    np.testing.assert_allclose(dense[chosen], wanted)
    # What was sampled at fps is taken whole.
    np.testing.assert_array_equal(
        select(wanted, start, 0, phases), np.arange(len(wanted))
    )


# Not two hours into a film, where rounding to float32 may put a frame that
# is 5e-4 s from a cell's edge on its other side.
@pytest.mark.parametrize("start", STARTS[:3])
@pytest.mark.parametrize("rate", RATES)
def test_a_phase_is_sampling_from_a_later_start(rate, start):
    source = source_times(rate, start)
    dense = sampled(source, start, 2 * FPS)
    chosen = select(dense, start, phase=1)
    later = start + 0.5 / FPS
    wanted = sampled(dense, later, FPS)
    np.testing.assert_allclose(dense[chosen], wanted)
    assert dense[chosen][0] >= later - 1e-3


@pytest.mark.parametrize("start", [7200.1, 35999.9])
def test_float32_times_of_a_long_film_do_not_move_frames(start):
    # Frames on the very edges of cells, each rounded up or down; at 8 fps
    # all of them are rounded alike.
    times = start + np.arange(200) / 10
    found = select(times, start, fps=10)
    np.testing.assert_array_equal(found, np.arange(200))
    # Nor do two dense frames fall into one cell, or one into the next.
    dense = start + np.arange(200) / 20
    for phase in (0, 1):
        found = select(dense, start, phase, fps=10)
        np.testing.assert_array_equal(found, np.arange(phase, 200, 2))


def test_phases_by_hand():
    # Cells of 1/8 s hold two dense frames each; the third one lacks its
    # first (no face), the fourth is empty.
    times = np.array([0, 1, 2, 3, 5, 8]) / 16
    np.testing.assert_array_equal(select(times, 0.0, 0), [0, 2, 4, 5])
    # Half a cell later: 1 2 | 3 (4) | 5 (6) | (7) 8
    np.testing.assert_array_equal(select(times, 0.0, 1), [1, 3, 4, 5])
    # A frame before the start belongs to no cell.
    np.testing.assert_array_equal(select(times, 0.2, 0), [4, 5])


def test_a_phase_without_frames_gives_phase_0():
    # Both frames lie in the first quarter of the only cell.
    np.testing.assert_array_equal(select([0.0, 0.02], 0.0, 3, 4), [0])
    np.testing.assert_array_equal(select([0.0, 0.02], 0.0, 0, 4), [0])


@pytest.mark.parametrize("phase", [0, 1])
def test_a_record_without_frames_selects_none(phase):
    found = select(np.zeros(0), 0.0, phase)
    assert found.shape == (0,) and found.dtype == np.int32


def test_select_batch_equals_select_row_by_row():
    rng = np.random.default_rng(0)
    rows = []
    for start, rate, seconds in [
        (0.0, 25.0, 3.0),
        (61.5, 16.0, 1.0),
        (7200.1, 60.0, 6.0),
        (3.0, 3.0, 2.0),
    ]:
        times = source_times(rate, start, seconds)
        rows.append((start, times[rng.random(len(times)) < 0.8]))
    rows.append((5.0, np.zeros(0)))
    length = max(len(t) for _, t in rows) + 3
    sampling = Sampling(FPS, 2, 32)
    indices, mask = input_pipeline.select_batch(
        # The padding of tf.io.parse_example.
        tf.constant([[*t, *[0.0] * (length - len(t))] for _, t in rows]),
        tf.constant([s for s, _ in rows]),
        tf.constant([len(t) for _, t in rows]),
        sampling,
    )
    assert indices.dtype == tf.int32 and mask.dtype == tf.bool
    counts = []
    for row, (start, times) in enumerate(rows):
        wanted = select(times, start)[:32]
        n = len(wanted)
        np.testing.assert_array_equal(indices[row, :n], wanted)
        assert not np.any(indices[row, n:])
        np.testing.assert_array_equal(mask[row], np.arange(mask.shape[1]) < n)
        counts.append(n)
    assert max(counts) == mask.shape[1] == 32 and counts[-1] == 0


def test_select_batch_of_nothing():
    indices, mask = input_pipeline.select_batch(
        tf.zeros((2, 0)), tf.zeros(2), tf.zeros(2, tf.int32), Sampling(8, 2, 4)
    )
    assert indices.shape == mask.shape == (2, 0)


def test_alone_and_inside_tf_data():
    times = tf.constant(source_times(25.0, 0.3), tf.float32)
    start, phase = tf.constant(0.3), tf.constant(1)
    sampling = Sampling(FPS, 2, 8)
    data = tf.data.Dataset.from_tensors((times, start, phase))
    (inside,) = data.map(
        lambda *args: input_pipeline.select(*args, sampling)
    ).as_numpy_iterator()
    alone = input_pipeline.select(times, start, phase, sampling)
    np.testing.assert_array_equal(inside, alone)
    seed = tf.constant([3, 4])
    (inside,) = data.map(
        lambda t, s, _: input_pipeline.draw(t, s, seed, sampling)
    ).as_numpy_iterator()
    for a, b in zip(
        inside, input_pipeline.draw(times, start, seed, sampling), strict=True
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("seconds", [1.0, 8.0])
def test_draw_starts_anywhere_it_may(seconds):
    times = source_times(16.0, 2.0, seconds)
    sampling = Sampling(FPS, 2, 32)
    seen = {0: set(), 1: set()}
    for i in range(200):
        indices, phase, first = input_pipeline.draw(
            tf.constant(times, tf.float32),
            tf.constant(2.0),
            tf.constant([7, i]),
            sampling,
        )
        chosen = select(times, 2.0, int(phase))
        np.testing.assert_array_equal(
            indices, chosen[int(first) : int(first) + 32]
        )
        seen[int(phase)].add(int(first))
    # 9 frames may lose 2 at their beginning; 65 may start up to frame 33.
    spare = 2 if seconds == 1.0 else 33
    assert seen[0] >= set(range(3)) and max(seen[0]) <= spare
    assert len(seen[0] | seen[1]) > spare * 0.8


CONFIG = Config().override(["train.batch_size=3", "clip.clip_frames=8"])


@pytest.fixture(scope="module")
def clips():
    """Six dense clips of 10 to 60 frames, and two that nobody trains on."""
    dense = [
        features.FeatureClip(
            f"clip{i}", i % 3, tuple(1 + t / 16 for t in range(10 * i + 10)), 1
        )
        for i in range(6)
    ]
    return [
        dense[0],
        features.FeatureClip("faceless", 1, ()),
        *dense[1:],
        features.FeatureClip("unlabelled", -1),
    ]


@pytest.fixture(scope="module")
def paths(clips, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    return [
        features.write(folder / "a.tfrecord", clips[:3]),
        features.write(folder / "b.tfrecord", clips[3:]),
    ]


def epoch_of(paths, clips, epoch, seed=0, config=CONFIG):
    """Returns `[(clip's id, its frames)]` in the order of an epoch."""
    batches = input_pipeline.training_epoch(
        features.sources(paths), config, seed, epoch
    )
    return frames_of(batches, clips)


def frames_of(batches, clips):
    """Finds each row of features again in the clips it came from."""
    frames = {
        tuple(row): (clip.id, i)
        for clip in clips
        for i, row in enumerate(clip.features()["face"].tolist())
    }
    found = []
    for inputs, labels in batches.as_numpy_iterator():
        assert set(inputs) == {"face_features", "context_features", "mask"}
        mask = inputs["mask"]
        for row, label in enumerate(labels):
            n = int(mask[row].sum())
            face = inputs["face_features"][row]
            context = inputs["context_features"][row]
            assert not face[n:].any() and not context[n:].any()
            assert (mask[row] == (np.arange(len(face)) < n)).all()
            if not n:
                found.append((None, []))
                continue
            names = [frames[tuple(v)] for v in face[:n].tolist()]
            (name,) = {name for name, _ in names}
            clip = next(c for c in clips if c.id == name)
            assert label == clip.label_id
            chosen = [i for _, i in names]
            # Both streams show the same frames.
            np.testing.assert_array_equal(
                context[:n], clip.features()["context"][chosen]
            )
            found.append((name, chosen))
    return found


def test_epochs_see_other_phases_and_first_frames(paths, clips):
    seen, orders = {}, set()
    for epoch in range(8):
        order = epoch_of(paths, clips, epoch)
        orders.add(tuple(name for name, _ in order))
        for name, chosen in order:
            # Every second dense frame, in a row, from any first one.
            assert set(np.diff(chosen)) == {2} and len(chosen) <= 8
            seen.setdefault(name, set()).add(chosen[0])
    # The faceless and the unlabelled clip are in none of them.
    assert sorted(seen) == [f"clip{i}" for i in range(6)]
    assert len(orders) > 4
    for name, firsts in seen.items():
        assert {first % 2 for first in firsts} == {0, 1}, name
        assert len(firsts) >= 3, name
    # The 60 dense frames leave 22 places for a clip of 8.
    assert max(seen["clip5"]) > 15


def test_an_epoch_is_a_function_of_its_seed_and_number(paths, clips):
    tf.random.set_seed(5)
    first = epoch_of(paths, clips, 3)
    assert epoch_of(paths, clips, 3) == first
    assert epoch_of(paths, clips, 4) != first
    assert epoch_of(paths, clips, 3, seed=1) != first


def test_evaluation_always_sees_frame_0_of_phase_0(paths, clips):
    batches = input_pipeline.evaluation_clips(features.sources(paths), CONFIG)
    wanted = []
    for clip in clips:
        dense = list(range(0, len(clip.times), 2))[:8]
        if clip.id == "unlabelled":  # Its frames are 1/8 s apart.
            dense = [0, 1, 2, 3]
        wanted.append((clip.id if dense else None, dense))
    assert frames_of(batches, clips) == wanted
    assert frames_of(batches, clips) == wanted


def test_evaluation_may_leave_out_what_has_no_answer(paths, clips):
    batches = input_pipeline.evaluation_clips(
        features.sources(paths), CONFIG, trainable_only=True
    )
    names = [name for name, _ in frames_of(batches, clips)]
    assert names == [f"clip{i}" for i in range(6)]


def test_batches_are_padded_to_their_longest(paths):
    batches = input_pipeline.evaluation_clips(features.sources(paths), CONFIG)
    shapes = [
        (x["face_features"].shape, x["mask"].shape, y.shape)
        for x, y in batches.as_numpy_iterator()
    ]
    assert shapes == [
        ((3, 8, 4), (3, 8), (3,)),
        ((3, 8, 4), (3, 8), (3,)),
        ((2, 8, 4), (2, 8), (2,)),
    ]
    spec, label = batches.element_spec
    assert spec["face_features"].shape.as_list() == [None, None, 4]
    assert spec["mask"].dtype == tf.bool and label.dtype == tf.int64


def test_a_batch_of_faceless_clips(tmp_path):
    path = features.write(
        tmp_path / "x.tfrecord",
        [features.FeatureClip(f"f{i}", 0, ()) for i in range(2)],
    )
    ((inputs, labels),) = input_pipeline.evaluation_clips(
        features.sources([path]), CONFIG
    )
    assert inputs["face_features"].shape == (2, 0, 4)
    assert inputs["mask"].shape == (2, 0) and labels.shape == (2,)
    epoch = input_pipeline.training_epoch(
        features.sources([path]), CONFIG, 0, 0
    )
    assert list(epoch) == []


def test_class_counts_are_of_the_clips_that_train(paths):
    counts = input_pipeline.class_counts(features.sources(paths), 4)
    assert counts.tolist() == [2, 2, 2, 0]
