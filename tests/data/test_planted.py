"""Tests of the planted task: what is in it, and what is not."""

import dataclasses

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from emorec.data import dataset, input_pipeline, planted, planted_set
from emorec.errors import RecordError
from emorec.features import extract, precomputed

SMALL = planted.Task(clips=(24, 12, 12))
CLEAR = planted.Task(clips=(200, 12, 12), noise=0.0)


@pytest.fixture(scope="module")
def drawn():
    return {split: planted.draw(split) for split in planted.SPLITS}


def shares(clips, answers):
    """Of the labels, of the expression and of the order that are right."""
    right = answers == clips.label_ids
    expression = answers % 2 == clips.label_ids % 2
    order = answers // 2 == clips.label_ids // 2
    return right.mean(), expression.mean(), order.mean()


def test_the_oracle_solves_it(drawn):
    for clips in drawn.values():
        assert (planted.oracle(clips) == clips.label_ids).mean() >= 0.99


def test_labels_say_which_expression_and_whether_it_follows_the_bang():
    clips = planted.draw("train", 3, CLEAR)
    shown = clips.face @ clips.directions["face"].T
    banged = clips.context @ clips.directions["context"][0]
    for i, label_id in enumerate(clips.label_ids):
        expression, after = planted.LABELS.names[label_id].split("_")
        kind = planted.FACE.index(expression)
        (step,) = np.flatnonzero(shown[i, :, kind] > 0.5)
        (bang,) = np.flatnonzero(banged[i] > 0.5)
        assert not (shown[i, :, 1 - kind] > 0.5).any()
        assert (step > bang) == (after == "after")
        assert 1 <= abs(step - bang) <= 3
        assert min(step, bang) >= planted.quiet_steps(clips.counts[i])
        assert max(step, bang) < clips.counts[i]


def test_lengths_vary_and_labels_are_balanced(drawn):
    clips = drawn["train"]
    assert set(clips.counts) == {12, 13, 14, 15, 16}
    assert np.bincount(clips.label_ids).tolist() == [250] * 4
    assert not clips.face[~clips.mask].any()
    assert not clips.context[~clips.mask].any()


def test_a_clip_cut_as_in_training_keeps_its_label():
    clips = planted.draw("train", 3, CLEAR)
    cut = {name: np.copy(getattr(clips, name)) for name in ("face", "context")}
    for i, count in enumerate(clips.counts):
        for values in cut.values():
            values[i, : int(count * input_pipeline.MAX_SKIPPED)] = 0
    answers = planted.oracle(dataclasses.replace(clips, **cut))
    assert (answers == clips.label_ids).all()


@pytest.mark.parametrize(
    "learner",
    [
        RandomForestClassifier(300, random_state=0),
        LogisticRegression(max_iter=2000),
    ],
    ids=["forest", "logistic"],
)
def test_pooling_over_time_tells_the_expression_and_not_the_order(
    drawn, learner
):
    known, asked = drawn["train"], drawn["test"]
    learner.fit(planted.pooled(known), known.label_ids)
    answers = learner.predict(planted.pooled(asked))
    right, expression, order = shares(asked, answers)
    # Half of the labels by chance; 3 standard deviations of 600 clips are 6 %.
    assert expression >= 0.95
    assert 0.44 <= order <= 0.56
    assert right <= 0.56


def test_the_commands_own_pooled_learner_does_as_well(drawn):
    answers = planted.pooled_answers(drawn["train"], drawn["test"])
    right, expression, order = shares(drawn["test"], answers)
    assert expression >= 0.95
    assert 0.44 <= order <= 0.56
    assert right <= 0.56


def test_pooled_values_are_those_of_the_valid_steps():
    clips = planted.draw("test", 0, SMALL)
    pooled = planted.pooled(clips)
    face, context = clips.face[0], clips.context[0]
    parts = []
    for values in (face, context):
        kept = values[: clips.counts[0]]
        parts += [kept.mean(0), kept.std(0), kept.min(0), kept.max(0)]
    np.testing.assert_allclose(pooled[0], np.concatenate(parts), atol=1e-6)


def test_one_stream_leaves_the_label_open():
    # The bound itself, and an oracle of one stream that has seen 20000 clips:
    # how often each label is seen with each kind, step and length.
    many = dataclasses.replace(planted.Task(), clips=(20_000, 4, 4), noise=0.05)
    known, asked = (
        planted.draw("train", 1, many),
        planted.draw("train", 2, many),
    )
    bounds = planted.bounds()
    assert 0.5 < bounds["face"] < 0.65
    assert 0.25 < bounds["context"] < 0.35
    for stream in ("face", "context"):
        counts = np.zeros((3, 17, 17, 4))
        np.add.at(counts, (*seen(known, stream), known.label_ids), 1)
        answers = counts[seen(asked, stream)].argmax(axis=1)
        right = (answers == asked.label_ids).mean()
        assert right == pytest.approx(bounds[stream], abs=0.015)


def seen(clips, stream):
    """Kind, step and length as an oracle of one stream sees them."""
    scores = getattr(clips, stream) @ clips.directions[stream].T
    events = scores[..., :-1]  # The last kind means nothing.
    best = events.reshape(len(events), -1).argmax(axis=1)
    return (*divmod(best, events.shape[2])[::-1], clips.counts)


def test_the_same_seed_gives_the_same_clips():
    one, same, other = (planted.draw("test", s, SMALL) for s in (5, 5, 6))
    for name in ("face", "context", "counts", "label_ids"):
        np.testing.assert_array_equal(getattr(one, name), getattr(same, name))
    assert not np.array_equal(one.face, other.face)


def test_written_twice_it_is_the_same_data_set(tmp_path):
    one = planted_set.write(tmp_path / "one", 1, SMALL)
    two = planted_set.write(tmp_path / "two", 1, SMALL)
    assert one.fingerprint == two.fingerprint
    paths = [p for p in (tmp_path / "one").rglob("*") if p.is_file()]
    assert len(paths) == 1 + 3 * 2 + 2 * (1 + 3 * 2)
    for path in paths:
        twin = tmp_path / "two" / path.relative_to(tmp_path / "one")
        assert path.read_bytes() == twin.read_bytes(), path


def test_a_finished_one_is_left_alone_and_another_is_refused(tmp_path):
    made = planted_set.write(tmp_path, 1, SMALL)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    assert planted_set.write(tmp_path, 1, SMALL).splits == made.splits
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before
    with pytest.raises(RecordError, match="holds another data set; choose"):
        planted_set.write(tmp_path, 2, SMALL)


def test_the_pipeline_reads_what_was_drawn(tmp_path):
    planted_set.write(tmp_path, 1, SMALL)
    data = dataset.load(tmp_path)
    inputs = ("face_features", "context_features")
    found = extract.extract(
        data,
        "test",
        precomputed.encoders(tmp_path, inputs),
        inputs,
        data.config,
    )
    clips = planted.draw("test", 1, SMALL)
    at = 0
    for values, label_ids in input_pipeline.evaluation_clips(
        found, data.config
    ):
        number, longest = values["mask"].shape
        rows = slice(at, at + number)
        np.testing.assert_array_equal(label_ids, clips.label_ids[rows])
        np.testing.assert_array_equal(
            values["mask"], clips.mask[rows, :longest]
        )
        for name in ("face", "context"):
            np.testing.assert_array_equal(
                values[f"{name}_features"],
                getattr(clips, name)[rows, :longest],
            )
        at += number
    assert at == 12
