"""One golden an architecture: arrays by a rule, and the answer as numbers.

The numbers of `GOLDENS` are those of the plain NumPy loops
(`testing.numpy_models`), which are held to them too; the first tests are
worked by hand.
"""

import numpy as np
import pytest
from testing import numpy_models
from testing.models import CUTS

from emorec.config import ModelConfig
from emorec.models import presets
from emorec.models.caca_rnn import CascadeRNN
from emorec.models.parts import StreamSpec

SHAPES = {
    "face_features": (2,),
    "context_features": (3,),
    "face_maps": (3, 3, 2),
}
# system -> logits of clips of `COUNTS` steps, and what they attended to.
GOLDENS = {
    "face_rnn": (
        [[1.472969, 0.358465, -2.091154], [1.483609, 0.319046, -2.042969]],
        None,
    ),
    "parallel_rnn": (
        [[1.867564, -0.003245, -2.413407], [1.876619, -0.104159, -2.351338]],
        None,
    ),
    "concatenated_rnn": (
        [[1.655621, 0.248296, -1.688885], [1.642536, -0.153257, -1.410619]],
        None,
    ),
    "caca_rnn_a": (
        [[1.497406, 0.334665, -2.030538], [1.500553, 0.331604, -2.022735]],
        [
            [
                [0.323531, 0.338054, 0.338415],
                [0.351767, 0.323232, 0.325002],
                [0.350590, 0.323871, 0.325539],
            ],
            [[0.486363, 0.513637, 0], [0.521258, 0.478742, 0], [0, 0, 0]],
        ],
    ),
    "caca_rnn_b": (
        [[1.601252, 0.601911, -2.049243], [1.554862, 0.571386, -2.107530]],
        [
            [
                [0.325283, 0.335945, 0.338772],
                [0.332905, 0.333345, 0.333750],
                [0.329845, 0.334311, 0.335844],
            ],
            [[0.492618, 0.507382, 0], [0.499919, 0.500081, 0], [0, 0, 0]],
        ],
    ),
    "caca_rnn_mec2017": (
        [[1.515433, 0.245950, -1.932455], [1.522519, 0.283460, -1.948186]],
        [
            [
                [0.308492, 0.230551, 0.460956],
                [0.334054, 0.331686, 0.334260],
                [0.337693, 0.356973, 0.305333],
            ],
            [[0.447562, 0.552438, 0], [0.469835, 0.530165, 0], [0, 0, 0]],
        ],
    ),
    "no_attention": (
        [[1.368007, 0.725650, -2.550225], [1.399875, 0.639772, -2.430047]],
        None,
    ),
    "no_seeding": (
        [[1.510147, 0.242973, -1.939473], [1.522400, 0.206197, -1.890448]],
        [
            [
                [0.333333, 0.333333, 0.333333],
                [0.343809, 0.327642, 0.328549],
                [0.349629, 0.324481, 0.325890],
            ],
            [[0.5, 0.5, 0], [0.512206, 0.487794, 0], [0, 0, 0]],
        ],
    ),
    "cnn_2d3d": (
        [
            [-3.380800, 8.305600, -0.019200],
            [-19.401602, 41.475203, -21.904001],
            [-42.710404, 48.100003, -6.148799],
            [-55.036005, 51.392803, 10.641601],
            [-57.000538, 51.804270, 12.428801],
        ],
        None,
    ),
    "ensemble": (
        [[-0.581838, -0.856329, -4.109782], [-0.580498, -0.858328, -4.103786]],
        [
            [
                [0.323531, 0.338054, 0.338415],
                [0.351767, 0.323232, 0.325002],
                [0.350590, 0.323871, 0.325539],
            ],
            [[0.486363, 0.513637, 0], [0.521258, 0.478742, 0], [0, 0, 0]],
        ],
    ),
}
COUNTS = {"cnn_2d3d": [1, 2, 3, 5, 9]}
CLOSE = {"rtol": 2e-6, "atol": 3e-6}


def by_rule(shape, start, step, period):
    """Numbers from -1 to 1 without a pattern along the axes."""
    i = np.arange(np.prod(shape, dtype=int))
    half = period // 2
    return ((step * i + start) % period - half).reshape(shape) / half


def small(system) -> ModelConfig:
    return ModelConfig(
        "caca_rnn_a" if system in CUTS else system,
        encoder_units=2,
        rnn_units=2,
        dropout=0.0,
        conv_filters=2,
        **CUTS.get(system, {}),
    )


def network(system):
    """A network of two units whose every array follows the rule."""
    members = [small("caca_rnn_a"), small("cnn_2d3d")]
    model = presets.build(
        small(system),
        SHAPES,
        3,
        members=members if system == presets.ENSEMBLE else (),
    )
    for part in getattr(model, "members", [model]):
        for layer in part.layers:
            for i, variable in enumerate(layer.weights):
                start = 3 * i + len(layer.name)
                variable.assign(by_rule(variable.shape, start, 7, 11) * 2)
    if system == presets.ENSEMBLE:
        model.member_weights.assign([0.75, 0.25])
    return model


def clips(model, counts) -> dict:
    """Clips of `counts` steps; what stands on padding is not 0."""
    length = max(counts)
    made = {"mask": np.arange(length)[None] < np.array(counts)[:, None]}
    for tensor in model.inputs:
        if tensor.name != "mask":
            shape = (len(counts), length, *tensor.shape[2:])
            x = by_rule(shape, len(tensor.name), 5, 9)
            made[tensor.name] = np.float32(x)
    return made


@pytest.mark.parametrize("system", GOLDENS)
def test_golden(system):
    logits, attention = GOLDENS[system]
    model = network(system)
    counts = COUNTS.get(system, [3, 2])
    inputs = clips(model, counts)
    outputs = model(inputs)
    np.testing.assert_allclose(outputs["logits"], logits, **CLOSE)
    assert ("attention" in outputs) == (attention is not None)
    if attention:
        np.testing.assert_allclose(outputs["attention"], attention, **CLOSE)
    for row, n in enumerate(counts):
        clip = {k: v[row, :n] for k, v in inputs.items()}
        found, maps = numpy_models.answer(model, clip)
        np.testing.assert_allclose(found, logits[row], **CLOSE)
        if attention:
            wanted = np.array(attention[row])[:n, :n]
            np.testing.assert_allclose(maps[-1], wanted, **CLOSE)


def of_halves(**cuts):
    """A cascade of one unit each with .5 in every place, and its answer."""
    model = CascadeRNN(
        [StreamSpec("context", 1, 0, 1), StreamSpec("face", 1, 0, 1)],
        units=1,
        num_classes=2,
        **cuts,
    )
    for variable in model.variables:
        variable.assign(np.full(variable.shape, 0.5, np.float32))
    return model(
        {
            "context_features": np.array([[[1.0], [-1.0]]], np.float32),
            "face_features": np.array([[[2.0], [0.0]]], np.float32),
            "mask": np.ones((1, 2), bool),
        }
    )


# Every gate gets the same sum s, and s(x) is the logistic function:
#   context  s_1 = .5 (1) + .5         = 1       c = .556770
#            h_1 = s(1) tanh(.556770)  = .369606
#            s_2 = .5 (-1 + h_1) + .5  = .184803 c = .403817
#            h_2 = s(s_2) tanh(c)      = .209260


def test_a_cascade_by_hand():
    # The context seeds the face: g_0 = .209260, c_0 = .403817
    #   w_1 = softmax(g_0 h) = (.508388, .491612), v_1 = .290778
    #   s_1 = .5 (2 + v_1 + g_0) + .5 = 1.750019
    #   c_1 = s(s_1) (c_0 + tanh(s_1)) = 1.146046, g_1 = .695570
    #   w_2 = softmax(g_1 h) = (.527854, .472146), v_2 = .293899
    #   s_2 = .5 (0 + v_2 + g_1) + .5 = .994735
    #   c_2 = s(s_2) (c_1 + tanh(s_2)) = 1.390999, g_2 = .644895
    # and the logits are .5 g_2 + .5.
    outputs = of_halves()
    np.testing.assert_allclose(
        outputs["attention"],
        [[[0.508388, 0.491612], [0.527854, 0.472146]]],
        **CLOSE,
    )
    np.testing.assert_allclose(
        outputs["logits"], [[0.822447, 0.822447]], **CLOSE
    )


def test_the_seeding_by_hand():
    # Nothing but the seed comes from the context: g_0, c_0 as above
    #   s_1 = .5 (2 + g_0) + .5 = 1.604630, c_1 = 1.104263, g_1 = .667818
    #   s_2 = .5 (0 + g_1) + .5 =  .833909, c_2 = 1.245745, g_2 = .590572
    outputs = of_halves(attention=False)
    assert list(outputs) == ["logits"]
    np.testing.assert_allclose(
        outputs["logits"], [[0.795286, 0.795286]], **CLOSE
    )


def test_the_attention_by_hand():
    # Without the seed g_0 = c_0 = 0, so that w_1 is equal
    #   v_1 = (h_1 + h_2) / 2 = .289433
    #   s_1 = .5 (2 + v_1) + .5 = 1.644716, c_1 = .777935, g_1 = .546088
    #   w_2 = softmax(g_1 h) = (.521877, .478123), v_2 = .292941
    #   s_2 = .5 (0 + v_2 + g_1) + .5 = .919515, c_2 = 1.074991
    #   g_2 = .565759
    outputs = of_halves(seeding=False)
    np.testing.assert_allclose(
        outputs["attention"], [[[0.5, 0.5], [0.521877, 0.478123]]], **CLOSE
    )
    np.testing.assert_allclose(
        outputs["logits"], [[0.782879, 0.782879]], **CLOSE
    )
