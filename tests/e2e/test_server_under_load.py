"""The embedded server under load: new versions, crowds, crashes."""

import itertools
import shutil
import threading
import time

import numpy as np
import pytest
import tensorflow as tf
from testing import request_files
from testing.served import served

from emorec.export import saved_model
from emorec.training import bundle
from serving.client import EmotionClient, errors
from serving.client.connection import Endpoint
from serving.load import generator, measure, requests
from serving.server import external

pytestmark = pytest.mark.long

STEPS = 6
# Seconds of the mixed load while versions come and go, and a bound on it: it
# goes on until the last version has served, however slow the machine.
SECONDS, MAX_SECONDS = 60, 400


class Versions:
    """Exports of one network that differ in their last bias.

    Attributes:
        inputs: A request to `features`.
        expected: Version -> the probabilities that it answers with.
    """

    def __init__(self, model_dir, folder):
        self.folder = folder / "made"
        self.expected = {}
        loaded = bundle.load(model_dir, use_cudnn=False)
        rng = np.random.default_rng(0)
        self.inputs = {
            name: rng.random((1, STEPS, *loaded.encoders.shapes[name])).astype(
                np.float32
            )
            for name in loaded.inputs
        } | {"mask": np.ones((1, STEPS), bool)}
        bias = loaded.model.trainable_variables[-1]
        saved_model.export(loaded, self.folder, 1, batch_sizes=(1,))
        for version in (1, 2, 3):
            logits = loaded.model(self.inputs, training=False)["logits"].numpy()
            odds = np.exp(logits - logits.max())
            self.expected[version] = (odds / odds.sum())[0]
            before = bias.numpy()
            bias.assign_add(np.linspace(-1, 1, bias.shape[0]))
            if version < 3:
                self._derive(version, before, bias.numpy())

    def _derive(self, version, before, after) -> None:
        """Copies a version into the next with another bias.

        An export each would take minutes, to the same graph.
        """
        old, new = self.folder / str(version), self.folder / str(version + 1)
        shutil.copytree(old, new)
        shutil.rmtree(new / "variables")
        (new / "variables").mkdir()
        reader = tf.train.load_checkpoint(str(old / "variables" / "variables"))
        names = sorted(reader.get_variable_to_shape_map())
        values = {name: reader.get_tensor(name) for name in names}
        # Keras writes each variable under two names.
        found = [n for n, v in values.items() if np.array_equal(v, before)]
        assert len(found) == 2
        values |= dict.fromkeys(found, after)
        tf.raw_ops.SaveV2(
            prefix=str(new / "variables" / "variables"),
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            tensors=list(values.values()),
        )

    def put(self, base, version) -> None:
        """Pushes a version as the pipeline does: complete, then named."""
        shutil.copytree(self.folder / str(version), base / f".{version}")
        (base / f".{version}").rename(base / str(version))


@pytest.fixture(scope="module")
def versions(model_dir, tmp_path_factory):
    made = Versions(model_dir, tmp_path_factory.mktemp("versions"))
    for a, b in itertools.combinations(made.expected.values(), 2):
        assert np.abs(a - b).max() > 0.05
    return made


@pytest.fixture
def base(versions, tmp_path):
    base = tmp_path / "emotion"
    base.mkdir()
    versions.put(base, 1)
    return base


def states(client):
    return {s.version: s.state for s in client.status()}


def until(condition, seconds=120):
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it did not come to pass"
        time.sleep(0.1)


def mixed_requests(versions, folder):
    jpeg = np.array([[b"", b""]], object)
    log = request_files.predict_log
    path = request_files.write(
        folder / "requests",
        [
            log("features", versions.inputs),
            log(
                "features",
                {k: np.repeat(v, 4, 0) for k, v in versions.inputs.items()},
            ),
            log("jpegs", {"face": jpeg, "context": jpeg}),
            log("describe", {"query": np.array([b""], object)}),
        ],
    )
    return requests.read(str(path), "emotion")


def test_versions_come_and_go_under_load(versions, base, tmp_path):
    with (
        served(base, external.free_port()) as server,
        EmotionClient(server.address) as client,
    ):
        found, stop = [], threading.Event()
        plan = generator.Plan(seconds=MAX_SECONDS, concurrency=3)
        endpoint = Endpoint(server.address, "emotion", 1 << 28)
        load = generator.Load(
            endpoint, mixed_requests(versions, tmp_path), plan
        )

        def ask():
            """A caller who looks at the answers."""
            while not stop.is_set():
                before = set(states(client))
                answer = client.predict("features", versions.inputs)
                after = states(client)
                matches = [
                    v
                    for v, p in versions.expected.items()
                    if np.abs(p - answer["probabilities"][0]).max() < 1e-4
                ]
                found.append((matches, before, after))

        results = []
        loader = threading.Thread(target=lambda: results.append(load.run(stop)))
        asker = threading.Thread(target=ask)
        started = time.monotonic()
        loader.start()
        asker.start()
        try:
            time.sleep(SECONDS / 6)
            versions.put(base, 2)
            until(lambda: states(client).get(2) == "AVAILABLE")
            until(lambda: states(client)[1] == "END")
            shutil.rmtree(base / "1")
            time.sleep(SECONDS / 6)
            versions.put(base, 3)
            until(lambda: states(client).get(3) == "AVAILABLE")
            time.sleep(SECONDS / 6)
            # A copy that broke off, under its final name.
            shutil.copytree(versions.folder / "3", base / ".4")
            data = next((base / ".4" / "variables").glob("*.data-*"))
            data.write_bytes(data.read_bytes()[:1000])
            (base / ".4").rename(base / "4")
            until(lambda: states(client).get(4) == "END")
            (broken,) = (s for s in client.status() if s.version == 4)
            assert broken.error_code and broken.error_message
            assert states(client)[3] == "AVAILABLE"
            time.sleep(max(0, started + SECONDS - time.monotonic()))
        finally:
            stop.set()
            loader.join()
            asker.join()
        with load:
            (samples,) = results
        assert samples.errors == {}
        assert {v for _, _, v in samples.by_kind} == {1, 2, 3}
        assert {name for name, _, _ in samples.by_kind} == {
            "features",
            "jpegs",
            "describe",
        }
        assert samples.answered > 100
        seen = [m for m, _, _ in found]
        assert all(len(m) == 1 for m in seen)
        assert sorted(seen) == seen and seen[-1] == [3]
        for (version,), _, after in found:
            assert after[version] in ("AVAILABLE", "UNLOADING", "END")
        assert server.stop() == 0


def test_a_crowd_is_refused_by_code_and_memory_is_bounded(
    versions, base, tmp_path
):
    with served(base, external.free_port()) as server:
        rows = mixed_requests(versions, tmp_path)
        endpoint = Endpoint(server.address, "emotion", 1 << 28)

        def run(callers, seconds):
            plan = generator.Plan(seconds, callers, timeout_s=30)
            with generator.Load(endpoint, rows, plan) as load:
                return load.run()

        assert run(16, 3).errors == {}
        before = server.memory("VmHWM")
        crowd = run(200, 10)
        assert set(crowd.errors) <= {"RESOURCE_EXHAUSTED"}
        assert crowd.errors["RESOURCE_EXHAUSTED"] > 0
        assert crowd.answered > 100
        assert server.memory("VmHWM") - before < 300 << 20
        # And all is as before.
        assert run(4, 1).errors == {}


def test_a_server_killed_under_load(versions, base):
    port = external.free_port()
    with (
        EmotionClient(f"127.0.0.1:{port}", timeout_s=3) as client,
        served(base, port) as server,
    ):
        stop = threading.Event()
        results = []

        def call():
            client.predict("features", versions.inputs)

        loader = threading.Thread(
            target=lambda: results.append(
                measure.closed_loop(call, 4, 60, stop)
            )
        )
        loader.start()
        time.sleep(2)
        server.kill()
        started = time.monotonic()
        with pytest.raises(errors.Unavailable):
            client.predict("features", versions.inputs)
        # Within its deadline, and some scheduling.
        assert time.monotonic() - started < 10
        stop.set()
        loader.join()
        (samples,) = results
        assert samples.answered > 0
        assert set(samples.errors) == {"UNAVAILABLE"}
        # The same client, once the server is back.
        with served(base, port):
            client.wait_ready(30)
            answer = client.predict("features", versions.inputs)
            np.testing.assert_allclose(
                answer["probabilities"][0], versions.expected[1], atol=1e-4
            )
