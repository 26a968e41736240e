"""Sources in one training, each with its weight."""

import collections
import dataclasses

import pytest
from testing import features

from emorec.config import Config
from emorec.data import input_pipeline, keys, mixing, records
from emorec.errors import ConfigError


@pytest.mark.parametrize(
    "text, values",
    [
        ("", {}),
        ("a=1", {"a": 1.0}),
        (" a = 0 , b=2.5,", {"a": 0.0, "b": 2.5}),
        ("a=b=2", {"a=b": 2.0}),
    ],
)
def test_what_weights_say(text, values):
    assert mixing.parse(text) == values


@pytest.mark.parametrize(
    "text", ["a", "=1", "a=", "a=x", "a=-1", "a=101", "a=nan", "a=inf"]
)
def test_weights_of_another_form(text):
    with pytest.raises(ConfigError) as e:
        mixing.parse(f"b=1,{text}")
    assert str(e.value) == (
        "config `train.source_weights` must be name=weight,name=weight, each "
        f"weight from 0 to 100. Received: {text!r}"
    )


def test_a_name_twice():
    with pytest.raises(ConfigError, match="Received: 'a' twice$"):
        mixing.parse("a=1,b=2,a=3")


def test_a_source_that_is_not_there():
    mixing.check("a=1", ["b", "a"])
    with pytest.raises(ConfigError) as e:
        mixing.check("a=1,c=2", ["b", "a", ""])
    assert str(e.value) == (
        "config `train.source_weights` names a source that the data set does "
        "not have. Received: 'c'; there is '', 'a', 'b'"
    )


@dataclasses.dataclass(frozen=True)
class Clip(features.FeatureClip):
    source: str = ""

    def example(self):
        made = super().example()
        value = made.features.feature[keys.CLIP_SOURCE].bytes_list.value
        value[0] = self.source.encode()
        return made


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """30 clips of each of three sources, each with a label of its own."""
    path = tmp_path_factory.mktemp("mixing") / "clips.tfrecord"
    clips = [
        Clip(f"{name}{i}", label, source=name)
        for i in range(30)
        for label, name in enumerate("abc")
    ]
    records.write(path, (clip.example() for clip in clips))
    return features.sources([str(path)])


def seen(sources, weights, epoch=0, seed=0):
    config = dataclasses.replace(
        Config(),
        train=dataclasses.replace(Config().train, source_weights=weights),
    )
    found = []
    for _, labels in input_pipeline.training_epoch(
        sources, config, seed, epoch
    ):
        found += labels.numpy().tolist()
    return found


def test_an_epoch_sees_each_source_by_its_weight(sources):
    counts = collections.Counter(seen(sources, "b=3,c=0"))
    assert counts == {0: 30, 1: 90}
    counts = collections.Counter()
    for epoch in range(20):
        of_epoch = collections.Counter(seen(sources, "a=0.5,b=1.25", epoch))
        assert of_epoch[2] == 30
        assert 30 <= of_epoch[1] <= 60
        counts += of_epoch
    # 600 draws each: four standard deviations.
    assert abs(counts[0] - 300) < 49
    assert abs(counts[1] - 750) < 43


def test_the_draw_is_one_of_seed_and_epoch(sources):
    first = seen(sources, "a=0.5")
    assert first == seen(sources, "a=0.5")
    assert first != seen(sources, "a=0.5", epoch=1)
    assert first != seen(sources, "a=0.5", seed=1)


def test_class_counts_are_those_of_an_average_epoch(sources):
    counts = input_pipeline.class_counts(sources, 3, "a=0.5,b=2")
    assert counts.tolist() == [15, 60, 30]
