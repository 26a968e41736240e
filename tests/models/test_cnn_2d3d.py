"""The 2D-3D-CNN: its kernels, its adaptive pooling, and its padding."""

import numpy as np
import pytest
from testing import numpy_models

from emorec.models.cnn_2d3d import CNN2D3D, AdaptiveTimePooling

# 1, 2, ..., n in four parts: floor(p n / 4) to ceil((p + 1) n / 4).
FOUR_BINS = {
    0: [0, 0, 0, 0],
    1: [1, 1, 1, 1],
    2: [1, 1, 2, 2],
    3: [1, 1.5, 2.5, 3],
    4: [1, 2, 3, 4],
    5: [1.5, 2.5, 3.5, 4.5],
    8: [1.5, 3.5, 5.5, 7.5],
    9: [2, 4, 6, 8],
}


@pytest.mark.parametrize("padding", [0, 1, 7])
def test_adaptive_pooling_by_hand(padding):
    length = 9 + padding
    steps = np.arange(1, length + 1, dtype=np.float32)
    x = np.tile(steps[None, :, None, None, None], (len(FOUR_BINS), 1, 2, 3, 1))
    valid = steps[None] <= np.array(list(FOUR_BINS))[:, None]
    found = AdaptiveTimePooling(4)(x, valid)
    np.testing.assert_allclose(found, list(FOUR_BINS.values()), rtol=1e-6)


def test_adaptive_pooling_keeps_channels_apart_and_means_over_places():
    x = np.zeros((1, 2, 2, 2, 3), np.float32)
    x[0, 0, 0, 0] = [4, 8, 12]
    x[0, 1, 1, 0] = [40, 80, 120]
    found = AdaptiveTimePooling(2)(x, np.ones((1, 2), bool))
    # The bins in their order, the channels of each side by side.
    np.testing.assert_allclose(found, [[1, 2, 3, 10, 20, 30]])


@pytest.mark.parametrize("bins", [1, 2, 3, 4, 7])
def test_adaptive_pooling_of_any_length(bins):
    rng = np.random.default_rng(bins)
    for n in (1, 2, 3, 5, 9, 40):
        x = rng.normal(size=(1, n, 1, 1, 2)).astype(np.float32)
        found = AdaptiveTimePooling(bins)(x, np.ones((1, n), bool))
        wanted = numpy_models.adaptive_pooling(x[0, :, 0, 0], bins)
        np.testing.assert_allclose(found[0], wanted, atol=1e-6)


def of_ones():
    """Kernels of ones on maps of 2 x 2; its logits are its four bins."""
    model = CNN2D3D((2, 2, 1), num_classes=4, filters=1, bins=4)
    for layer in model.layers:
        if layer.weights:
            kernel, bias = layer.weights
            kernel.assign(np.ones(kernel.shape))
            bias.assign(np.zeros(bias.shape))
    model.get_layer("logits").kernel.assign(np.eye(4))
    return model


def test_a_case_by_hand():
    # Frames of 1, 2 and 3 everywhere: the first kernel sees all four places
    # of three frames, 4 (0 + 1 + 2), 4 (1 + 2 + 3), 4 (2 + 3 + 0), that is
    # 12, 24, 20; the places are one after halving, and the second kernel sums
    # three frames again: 36, 56, 44. The bins are those of FOUR_BINS[3].
    frames = np.array([1, 2, 3, 1e3, 1e3], np.float32)
    maps = np.broadcast_to(frames[None, :, None, None, None], (1, 5, 2, 2, 1))
    valid = np.array([[True, True, True, False, False]])
    for length in (3, 4, 5):
        outputs = of_ones()(
            {"face_maps": maps[:, :length], "mask": valid[:, :length]}
        )
        np.testing.assert_allclose(outputs["logits"], [[36, 46, 50, 44]])


def test_the_order_of_frames_counts():
    """Pooling over all time would be blind to it."""
    maps = np.zeros((2, 6, 2, 2, 1), np.float32)
    maps[0, 0], maps[1, 5] = 1, 1
    valid = np.ones((2, 6), bool)
    logits = np.array(of_ones()({"face_maps": maps, "mask": valid})["logits"])
    np.testing.assert_allclose(logits[0], logits[1, ::-1])
    # The one frame at an end is seen by two steps of four, twice by each.
    assert logits[0, 0] > 0 and logits[0, 3] == 0


def test_odd_places_and_one_place():
    for shape in ((1, 1, 3), (3, 5, 2), (7, 7, 1)):
        model = CNN2D3D(shape, num_classes=2, filters=3, bins=2)
        rng = np.random.default_rng(0)
        for variable in model.variables:
            variable.assign(rng.normal(0, 0.5, variable.shape))
        maps = rng.normal(size=(1, 4, *shape)).astype(np.float32)
        outputs = model({"face_maps": maps, "mask": np.ones((1, 4), bool)})
        wanted, _ = numpy_models.answer(model, {"face_maps": maps[0]})
        np.testing.assert_allclose(outputs["logits"][0], wanted, rtol=1e-5)
