"""The two baselines that no gradient trains, by hand."""

import numpy as np

from emorec.models.untrained import FaceAverage, Majority

LOG_SMALLEST = -16.118096  # log(1e-7)


def face_average(mapping):
    mapping = np.array(mapping)
    model = FaceAverage(*mapping.shape)
    model.get_layer("label_average").mapping.assign(mapping)
    return model


def test_face_average_by_hand():
    # Answer 0 is label 1, answer 2 is label 0, and answer 1 is no label.
    model = face_average([[0, 1], [0, 0], [1, 0]])
    answers = np.array(
        [
            [[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [9.0, 9.0, 9.0]],
            [[0.2, 0.6, 0.2], [9.0, 9.0, 9.0], [9.0, 9.0, 9.0]],
            [[9.0, 9.0, 9.0], [9.0, 9.0, 9.0], [9.0, 9.0, 9.0]],
        ],
        np.float32,
    )
    valid = np.arange(3)[None] < np.array([2, 1, 0])[:, None]
    logits = model({"face_probabilities": answers, "mask": valid})["logits"]
    # Sums over the valid steps are (.6, .4, 1): 1 and .6 to the labels,
    # that is .625 and .375; then .2 and .2; then nothing.
    np.testing.assert_allclose(
        logits,
        [
            [-0.470004, -0.980829],
            [-0.693147, -0.693147],
            [LOG_SMALLEST, LOG_SMALLEST],
        ],
        rtol=2e-6,
    )


def test_a_label_that_no_answer_gives_has_almost_nothing():
    model = face_average([[1, 0, 0], [0, 0, 1]])
    answers = np.array([[[0.25, 0.75]]], np.float32)
    logits = model(
        {"face_probabilities": answers, "mask": np.ones((1, 1), bool)}
    )["logits"]
    np.testing.assert_allclose(
        logits, [[np.log(0.25), LOG_SMALLEST, np.log(0.75)]], rtol=2e-6
    )


def test_answers_of_one_label_are_added():
    model = face_average([[1, 0], [1, 0], [0, 1]])
    answers = np.array([[[0.25, 0.25, 0.5]]], np.float32)
    logits = model(
        {"face_probabilities": answers, "mask": np.ones((1, 1), bool)}
    )["logits"]
    np.testing.assert_allclose(logits, [[np.log(0.5)] * 2], rtol=2e-6)


def test_majority_gives_its_shares_whatever_the_clip():
    model = Majority(3)
    log_prior = np.log([0.2, 0.5, 0.3])
    model.get_layer("class_prior").log_prior.assign(log_prior)
    for valid in (np.ones((2, 4), bool), np.zeros((2, 4), bool)):
        logits = np.array(model({"mask": valid})["logits"])
        np.testing.assert_allclose(logits, [log_prior] * 2, rtol=1e-6)
    assert np.array(model({"mask": np.ones((2, 0), bool)})["logits"]).shape == (
        2,
        3,
    )


def test_nothing_of_them_is_trained():
    for model in (FaceAverage(7, 8), Majority(8)):
        assert not model.trainable_variables
        assert len(model.non_trainable_variables) == 1
