"""Graphs kept between commands: what is read, and what is not."""

import numpy as np
import pytest
import tensorflow as tf

from emorec.features import frozen, graph_cache, sessions


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def doubled(factor=2.0):
    return frozen.graph_of_function(
        lambda x: {"y": x * tf.constant(factor)}, {"x": ((None,), "float32")}
    )


def answer(graph):
    return sessions.runner(graph)({"x": np.float32([1, 2])})["y"].tolist()


def test_a_graph_is_made_once():
    made = []

    def make():
        made.append(1)
        return {"a": doubled()}

    key = graph_cache.key_of(["one"])
    assert not graph_cache.has(key, ["a"])
    for _ in range(2):
        assert answer(graph_cache.get(key, ["a"], make)["a"]) == [2, 4]
    assert len(made) == 1
    assert graph_cache.has(key, ["a"])
    assert not graph_cache.has(key, ["a", "b"])


@pytest.mark.parametrize("harm", ["cut", "flip", "empty"])
def test_a_damaged_graph_is_made_again(harm):
    key = graph_cache.key_of(["one"])
    graph_cache.write(key, {"a": doubled()})
    (path,) = graph_cache.folder().glob("*.pb")
    data = bytearray(path.read_bytes())
    data[-1] ^= harm == "flip"
    path.write_bytes({"cut": data[:-9], "empty": b""}.get(harm, data))
    assert graph_cache.read(key, ["a"]) is None
    found = graph_cache.get(key, ["a"], lambda: {"a": doubled(3.0)})
    assert answer(found["a"]) == [3, 6]
    assert answer(graph_cache.read(key, ["a"])["a"]) == [3, 6]


def test_the_key_follows_values_files_and_code(tmp_path, monkeypatch):
    file = tmp_path / "weights"
    file.write_bytes(b"1")
    keys = {graph_cache.key_of(["a"]), graph_cache.key_of(["b"])}
    keys.add(graph_cache.key_of(["a"], [file]))
    file.write_bytes(b"12")
    keys.add(graph_cache.key_of(["a"], [file]))
    monkeypatch.setattr(graph_cache, "_CODE", ("features",))
    keys.add(graph_cache.key_of(["a"]))
    assert len(keys) == 5
    assert graph_cache.key_of(["a"]) in keys


def test_only_the_last_used_are_kept(monkeypatch):
    monkeypatch.setattr(graph_cache, "MOST_FILES", 2)
    for name in "abc":
        graph_cache.write(graph_cache.key_of([name]), {"n": doubled()})
    assert len(list(graph_cache.folder().iterdir())) == 2
    assert graph_cache.has(graph_cache.key_of(["c"]), ["n"])


def test_a_place_that_cannot_be_written_to_keeps_nothing(home):
    (home / "emorec").write_text("not a folder")
    key = graph_cache.key_of(["one"])
    found = graph_cache.get(key, ["a"], lambda: {"a": doubled()})
    assert answer(found["a"]) == [2, 4]
    assert not graph_cache.has(key, ["a"])
