"""The one list of systems: what they read, their sizes, the paper's figures."""

import keras
import pytest
from testing.models import SHAPES

from emorec.config import ModelConfig
from emorec.errors import ConfigError
from emorec.models import presets
from emorec.models.attention import AttentionLSTM

# Derived from the paper's Table I, or, where it has no row, worked out below.
PARAMETERS = {
    "face_rnn": 1_577_224,
    "context_rnn": 1_184_008,
    "parallel_rnn": 856_328,
    "concatenated_rnn": 1_380_616,
    "caca_rnn_a": 789_256,
    "caca_rnn_b": 789_256,
    # context LSTM on 512 as they are  4 (512 x 128 + 128 x 128 + 128) = 328 192
    # face encoder                     2048 x 128 + 128               = 262 272
    # face LSTM 131 584, attention LSTM 197 120, output 1 032
    "caca_rnn_mec2017": 920_200,
    # 1 x 1 x 1                        2048 x 64 + 64                 = 131 136
    # two of 3 x 3 x 3                 2 (27 x 64 x 64 + 64)          = 221 312
    # output on 4 bins                 4 x 64 x 8 + 8                 =   2 056
    "cnn_2d3d": 354_504,
    # Both members, and a weight for each.
    "ensemble": 920_200 + 354_504 + 2,
    "face_average": 7 * 8,
    "majority": 8,
}
# As the paper's framework counts them: two bias vectors in each LSTM layer.
TWO_BIASES = {
    "face_rnn": 1_579_272,
    "context_rnn": 1_186_056,
    "parallel_rnn": 858_376,
    "concatenated_rnn": 1_382_664,
    "caca_rnn_a": 790_792,
    "caca_rnn_b": 790_792,
}


def at_paper_sizes(system, **changes) -> keras.Model:
    members = ()
    if system == presets.ENSEMBLE:
        members = [ModelConfig(m) for m in presets.PAPER_MEMBERS]
    return presets.build(
        ModelConfig(system, **changes),
        presets.PAPER_SHAPES,
        presets.PAPER_CLASSES,
        members=members,
    )


def second_biases(model) -> int:
    """Counts what the second bias vectors of its LSTM layers would have."""
    layers = [
        layer
        for layer in model.layers
        if isinstance(layer, keras.layers.LSTM | AttentionLSTM)
    ]
    assert layers
    return sum(4 * layer.units for layer in layers)


def test_the_list_is_that_of_the_paper_and_two_baselines():
    assert set(PARAMETERS) == set(presets.SYSTEMS)
    assert all(s.id == name for name, s in presets.SYSTEMS.items())


@pytest.mark.parametrize("system", PARAMETERS)
def test_parameters_at_the_paper_sizes(system):
    model = at_paper_sizes(system)
    assert model.count_params() == PARAMETERS[system]
    trained = sum(w.shape.num_elements() for w in model.trainable_weights)
    fixed = {"ensemble": 2, "face_average": 56, "majority": 8}.get(system, 0)
    assert trained == PARAMETERS[system] - fixed


@pytest.mark.parametrize("system", TWO_BIASES)
def test_two_biases_a_layer_give_the_figures_of_table_1(system):
    model = at_paper_sizes(system)
    count = model.count_params() + second_biases(model)
    assert count == TWO_BIASES[system]
    paper = presets.SYSTEMS[system].paper
    assert paper.table == "I"
    assert paper.params == f"{count / 1e6:.2f}M"


def test_parameters_of_the_parts_of_caca_rnn():
    # encoders   512 x 128 + 128 + 2048 x 128 + 128             = 327 936
    # stack 1    2 LSTMs of 4 (128 x 128 + 128 x 128 + 128)     = 263 168
    # stack 2    4 (128 x 128 [x] + 128 x 128 [v] + 128 x 128 [g] + 128)
    #                                                           = 197 120
    # output     128 x 8 + 8                                    =   1 032
    model = at_paper_sizes("caca_rnn_a")
    found = {layer.name: layer.count_params() for layer in model.layers}
    assert {k: v for k, v in found.items() if v} == {
        "context_encoder": 65_664,
        "face_encoder": 262_272,
        "context_lstm_1": 131_584,
        "context_lstm_2": 131_584,
        "face_attention_lstm": 197_120,
        "logits": 1_032,
    }


def test_parameters_of_the_ablations():
    # Without attention nothing is fed: 128 x 512 less.
    cut = at_paper_sizes("caca_rnn_a", attention=False)
    assert cut.count_params() == 723_720 == 789_256 - 128 * 512
    assert at_paper_sizes("caca_rnn_a", seeding=False).count_params() == 789_256


def test_what_the_paper_reports():
    found = {
        s.id: (s.paper.map, s.paper.acc)
        for s in presets.SYSTEMS.values()
        if s.paper is not None
    }
    assert found == {
        "face_rnn": (38.87, 52.72),
        "context_rnn": (28.74, 37.68),
        "parallel_rnn": (40.44, 54.30),
        "concatenated_rnn": (39.78, 54.15),
        "caca_rnn_a": (40.73, 53.01),
        "caca_rnn_b": (39.91, 54.44),
        "caca_rnn_mec2017": (41.53, 51.34),
        "ensemble": (52.16, 56.58),
    }


@pytest.mark.parametrize("system", presets.SYSTEMS)
def test_a_network_reads_what_its_system_names(system):
    config = ModelConfig(system)
    members = [ModelConfig("face_rnn"), ModelConfig("cnn_2d3d")]
    members = members if system == presets.ENSEMBLE else ()
    model = presets.build(config, SHAPES, 3, members=members)
    wanted = {
        n: (None, None, *SHAPES[n]) for n in presets.inputs_of(config, members)
    }
    wanted["mask"] = (None, None)
    assert {t.name: t.shape for t in model.inputs} == wanted
    assert model.output["logits"].shape == (None, 3)


def test_streams_of_inputs():
    both = ("context_features", "face_features", "face_maps")
    assert presets.streams_of(both) == ("context", "face")
    assert presets.streams_of(["face_maps"]) == ("face",)
    # What reads none needs to know which steps there are.
    assert presets.streams_of(()) == ("face",)


def test_the_order_of_the_cascades():
    first = {
        s: at_paper_sizes(s).streams[0].name
        for s in ("caca_rnn_a", "caca_rnn_b", "caca_rnn_mec2017")
    }
    assert list(first.values()) == ["context", "face", "context"]


def test_an_ensemble_reads_what_its_members_read_once_each():
    members = [ModelConfig(s) for s in ("caca_rnn_a", "face_rnn", "cnn_2d3d")]
    assert presets.inputs_of(ModelConfig("ensemble"), members) == (
        "context_features",
        "face_features",
        "face_maps",
    )


def test_the_system_gives_the_sizes_that_the_config_leaves_open():
    found = presets.resolve(ModelConfig("concatenated_rnn"))
    assert (found.encoder_units, found.rnn_units) == (128, 256)
    found = presets.resolve(ModelConfig("concatenated_rnn", 3, 5))
    assert (found.encoder_units, found.rnn_units) == (3, 5)
    model = presets.build(found, SHAPES, 2)
    assert model.get_layer("face_encoder").units == 3
    assert model.units == 5


def test_the_config_reaches_the_network():
    model = presets.build(
        ModelConfig("caca_rnn_b", dropout=0.25, seeding=False), SHAPES, 2, False
    )
    assert (model.dropout, model.attention, model.seeding) == (
        0.25,
        True,
        False,
    )
    assert model.use_cudnn is False
    assert model.get_layer("face_lstm_1").use_cudnn is False
    model = presets.build(
        ModelConfig("cnn_2d3d", dropout=0.5, conv_filters=3, time_bins=2),
        SHAPES,
        2,
    )
    assert (model.filters, model.bins, model.dropout) == (3, 2, 0.5)


@pytest.mark.parametrize(
    "call", [presets.get, lambda s: presets.build(ModelConfig(s), SHAPES, 8)]
)
def test_an_unknown_system_is_refused(call):
    with pytest.raises(ConfigError) as e:
        call("caca_rnn_c")
    assert str(e.value) == (
        "`system` must be one of face_rnn, context_rnn, parallel_rnn, "
        "concatenated_rnn, caca_rnn_a, caca_rnn_b, caca_rnn_mec2017, "
        "cnn_2d3d, ensemble, face_average, majority. Received: 'caca_rnn_c'"
    )


def test_a_cascade_cut_on_both_ways_is_refused():
    with pytest.raises(ConfigError) as e:
        presets.resolve(ModelConfig(attention=False, seeding=False))
    assert str(e.value) == (
        "config `model.attention` and `model.seeding` must not both be "
        "false: nothing would be left of the first stream"
    )


@pytest.mark.parametrize("part", ["attention", "seeding"])
@pytest.mark.parametrize("system", ["parallel_rnn", "face_rnn", "majority"])
def test_what_has_nothing_to_cut_is_not_cut(system, part):
    with pytest.raises(ConfigError) as e:
        presets.resolve(ModelConfig(system, **{part: False}))
    assert str(e.value) == (
        f"config `model.{part}` must be true for {system}, which has no "
        f"{part} to cut; there is caca_rnn_a, caca_rnn_b, caca_rnn_mec2017"
    )


@pytest.mark.parametrize(
    "members, received",
    [
        ([], "none"),
        (["majority", "ensemble"], "majority, ensemble"),
    ],
)
def test_an_ensemble_without_proper_members_is_refused(members, received):
    with pytest.raises(ConfigError) as e:
        presets.build(
            ModelConfig("ensemble"),
            SHAPES,
            8,
            members=[ModelConfig(m) for m in members],
        )
    assert str(e.value) == (
        "an ensemble needs members that are no ensembles themselves. "
        f"Received: {received}"
    )
