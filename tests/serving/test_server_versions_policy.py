"""Version policies, and what becomes of versions that are unloaded."""

import gc
import os
import weakref

import numpy as np
import pytest
import tensorflow as tf
from testing import times_model
from testing.times_model import put, put_broken

from emorec.errors import ModelError, ServerError
from serving.server import starting
from serving.server.loading import Loader
from serving.server.version_folders import Policy, find_versions, wanted
from serving.server.version_state import State
from serving.server.versions import VersionManager

ALL = Policy(all=Policy.All())
TWO = Policy(latest=Policy.Latest(num_versions=2))
FOUND = {1: "/a", 5: "/b", 7: "/c"}


def specific(*versions):
    return Policy(specific=Policy.Specific(versions=versions))


@pytest.mark.parametrize(
    ("policy", "numbers"),
    [
        (Policy(), [7]),
        (Policy(latest=Policy.Latest()), [7]),
        (TWO, [7, 5]),
        (Policy(latest=Policy.Latest(num_versions=9)), [7, 5, 1]),
        (ALL, [7, 5, 1]),
        (specific(1, 5, 6), [5, 1]),
        (specific(), []),
    ],
)
def test_what_a_policy_wants(policy, numbers):
    found = wanted(policy, FOUND)
    assert list(found) == numbers
    assert all(found[number] == FOUND[number] for number in numbers)


def test_two_names_of_one_number_are_one_version(tmp_path):
    for name in ("01", "1", "001"):
        (tmp_path / name).mkdir()
    assert find_versions(str(tmp_path)) == {1: str(tmp_path / "1")}


@pytest.fixture(scope="module", autouse=True)
def frozen():
    """As `emorec serve` does: each unloading collects garbage."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return times_model.save(tmp_path_factory.mktemp("models"))


@pytest.fixture
def base(models, tmp_path):
    for number in (1, 2, 3):
        put(models, number, tmp_path / "base", number)
    return tmp_path / "base"


@pytest.fixture
def manage():
    """Returns a function that starts a manager that only polls when told."""
    managers = []

    def start(base, policy, **options):
        options = {"poll_s": 3600, "loader": Loader(), **options}
        manager = VersionManager("m", str(base), policy, **options)
        managers.append(manager)
        manager.start()
        return manager

    yield start
    for manager in managers:
        manager.stop()


def factor(manager, version=None):
    with manager.use(version) as (_, model):
        x = {"x": np.float32([1])}
        return model.run("serving_default", x, ["y"])["y"][0]


def serving(manager):
    return [s.version for s in manager.statuses() if s.state == State.AVAILABLE]


def test_several_versions_serve_at_once(manage, base, models):
    manager = manage(base, TWO)
    assert serving(manager) == [3, 2]
    assert factor(manager) == factor(manager, 3) == 3.0
    assert factor(manager, 2) == 2.0
    put(models, 1, base, 4)
    manager.poll()
    assert serving(manager) == [4, 3]
    assert factor(manager) == 1.0

    manager.configure(str(base), ALL)
    manager.poll()
    assert serving(manager) == [4, 3, 2, 1]
    manager.configure(str(base), specific(1, 3))
    manager.poll()
    assert serving(manager) == [3, 1]
    assert factor(manager) == 3.0


class Order:
    """A loader that writes down in which order versions come and go."""

    def __init__(self):
        self.events = []

    def __call__(self, path):
        name = os.path.basename(path)
        self.events.append(f"load {name}")
        model = Loader()(path)
        close = model.close

        def told():
            self.events.append(f"close {name}")
            close()

        model.close = told
        return model


def test_a_wanted_version_loads_before_another_goes(manage, base, models):
    order = Order()
    manager = manage(base, TWO, loader=order)
    assert order.events == ["load 3", "load 2"]
    order.events.clear()
    manager.configure(str(base), specific(1, 2, 9))
    manager.poll()
    # Version 2 is wanted and serves, so 3 may go.
    assert order.events == ["close 3", "load 1"]
    order.events.clear()
    manager.configure(str(base), Policy())
    manager.poll()
    assert order.events[0] == "load 3"
    assert sorted(order.events[1:]) == ["close 1", "close 2"]


def test_a_version_that_is_not_there_changes_nothing(manage, base, caplog):
    manager = manage(base, specific(2))
    manager.configure(str(base), specific(8, 9))
    manager.poll()
    assert f"no version 8, 9 of model 'm' in {base}" in caplog.text
    assert serving(manager) == [2]


def test_one_broken_version_of_many(manage, base):
    (base / "2" / "saved_model.pb").write_bytes(b"\xff not a model")
    manager = manage(base, ALL)
    assert serving(manager) == [3, 1]
    assert manager.statuses()[1].version == 2
    assert manager.statuses()[1].state == State.END
    # It is the newest one that a start waits for.
    put_broken(base, 4)
    with pytest.raises(ModelError, match="version 4 of model 'm' in .* does n"):
        manage(base, ALL)
    manager.poll()
    assert manager.statuses()[0].state == State.END
    assert factor(manager) == 3.0


def test_a_poll_wait_of_0_looks_once(manage, base, models, tmp_path):
    manager = manage(base, None, poll_s=0)
    assert factor(manager) == 3.0
    assert manager._thread is None
    (tmp_path / "empty").mkdir()
    with pytest.raises(ServerError, match="poll wait of 0 s there is no seco"):
        manage(tmp_path / "empty", None, poll_s=0)


def test_a_poll_wait_below_0_never_looks(base):
    manager = VersionManager("m", str(base), poll_s=-1)
    with pytest.raises(ServerError, match="after 0.2 s: model 'm': not looked"):
        manager.start(timeout_s=0.2)
    assert manager.statuses() == []


def test_all_models_load_before_a_missing_one_is_waited_for(base, tmp_path):
    missing = VersionManager("missing", str(tmp_path / "x"), poll_s=0.05)
    broken = VersionManager("broken", str(tmp_path / "y"), poll_s=0.05)
    there = VersionManager("there", str(base), poll_s=0.05)
    with pytest.raises(ServerError, match="cannot read base path .* 'missing'"):
        starting.start_all([missing, there], timeout_s=0.2)
    assert there.is_serving
    # Nor does the missing one hide that another cannot load.
    put_broken(tmp_path / "y", 1)
    with pytest.raises(ModelError, match="version 1 of model 'broken' in"):
        starting.start_all([missing, broken])
    there.stop()


@pytest.fixture(scope="module")
def heavy(tmp_path_factory):
    """A SavedModel of 40 MB."""

    class Heavy(tf.Module):
        def __init__(self):
            self.w = tf.Variable(tf.ones([1000, 10_000]))

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
        def scale(self, x):
            return {"y": x * tf.reduce_sum(self.w)}

    folder = tmp_path_factory.mktemp("heavy") / "model"
    module = Heavy()
    tf.saved_model.save(module, str(folder), {"serving_default": module.scale})
    return folder


def resident_mb():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def test_an_unloaded_version_is_freed(manage, heavy, tmp_path):
    sessions = []

    def loader(path):
        model = Loader()(path)
        sessions.append(weakref.ref(model._session))
        sessions.append(weakref.ref(model._session.graph))
        return model

    base = tmp_path / "base"
    base.mkdir()
    (base / "1").symlink_to(heavy)
    gc.disable()  # Only what the server itself does counts.
    before = 0.0
    try:
        manager = manage(base, None, loader=loader)
        for number in range(2, 10):
            (base / str(number)).symlink_to(heavy)
            manager.poll()
            assert factor(manager) == 1e7
            if number == 4:
                before = resident_mb()
        assert serving(manager) == [9]
        assert [ref() is None for ref in sessions[:-2]] == [True] * 16
        # TensorFlow keeps what it once had for the next model: 5 models that
        # are not freed would be 200 MB.
        assert resident_mb() - before < 100
    finally:
        gc.enable()
