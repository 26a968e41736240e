"""ServableValidator where the server fails: no word on the model.

TFX keeps a refusal in its cache, and would answer with it once the server is
mended. So such a fault is an error of the run.
"""

import os
import pathlib
import sys

import pytest
from testing import tfx_artifacts, toy_model
from testing.servable_trials import NAMES, script, toy_examples, validate

from emorec.errors import ServerError
from serving.client import emotion_client, errors


@pytest.fixture(autouse=True)
def nothing_is_left(monkeypatch, tmp_path):
    """No temporary folder outlives a trial."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    yield
    assert not list(place.iterdir())


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    return tfx_artifacts.model(
        folder / "model", toy_model.save(folder / "saved", NAMES, add=True)
    )


def test_a_server_that_ends(toy, tmp_path):
    binary = script(
        tmp_path / "server",
        "#!/bin/sh\necho starting\necho 'Error: it does not load' >&2\n"
        "echo bye\nexit 255\n",
    )
    examples = toy_examples(tmp_path / "examples")
    # No refusal, which TFX would keep: the model is not at fault.
    with pytest.raises(ServerError) as caught:
        validate(tmp_path, toy, examples, server=binary)
    assert str(caught.value) == (
        f"the trial of the servable: {binary} ended with code 255: Error: it "
        "does not load; the model loads without that server, so mend the "
        "server and run again"
    )


def test_a_server_that_ends_over_a_model_that_nobody_loads(toy, tmp_path):
    binary = script(tmp_path / "server", "#!/bin/sh\nexit 255\n")
    examples = toy_examples(tmp_path / "examples")
    path = pathlib.Path(toy.uri) / "Format-Serving" / "saved_model.pb"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    try:
        _, report = validate(tmp_path, toy, examples, server=binary)
    finally:
        path.write_bytes(content)
    assert report["blessed"] is False
    assert "ended with code 255" in report["reason"]


def test_a_server_that_never_answers(toy, tmp_path):
    binary = script(
        tmp_path / "server",
        f'#!/bin/sh\n[ "$1" = --version ] && exit 1\necho $$ > {tmp_path}/pid\n'
        "exec sleep 600\n",
    )
    examples = toy_examples(tmp_path / "examples")
    # A faster machine may load the same model: again no refusal.
    with pytest.raises(ServerError, match="longer than its 2 s; raise"):
        validate(tmp_path, toy, examples, server=binary, deadline_s=2.0)
    assert not list((tmp_path / "blessing").iterdir())
    pid = (tmp_path / "pid").read_text().strip()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


def test_the_embedded_server_is_late(toy, tmp_path):
    examples = toy_examples(tmp_path / "examples")
    with pytest.raises(ServerError, match="longer than its 1e-09 s; raise"):
        validate(tmp_path, toy, examples, deadline_s=1e-9)
    assert not list((tmp_path / "blessing").iterdir())


@pytest.mark.parametrize(
    "error, told",
    [
        (errors.Unavailable("it is gone"), "it is gone"),
        (errors.DeadlineExceeded("no answer"), "no answer"),
        (errors.Overloaded("too many requests"), "too many requests"),
        (errors.ServerError("INTERNAL: an op failed"), None),
        (errors.BadRequest("no such signature"), None),
    ],
)
def test_a_server_that_stops_answering(toy, tmp_path, monkeypatch, error, told):
    """What only a machine in trouble says, so it is said in its place."""

    def predict(self, name, inputs):
        raise error

    monkeypatch.setattr(emotion_client.EmotionClient, "predict", predict)
    examples = toy_examples(tmp_path / "examples")
    if told:
        with pytest.raises(ServerError, match=f"servable: {told}; the model"):
            validate(tmp_path, toy, examples)
        assert not list((tmp_path / "blessing").iterdir())
    else:
        _, report = validate(tmp_path, toy, examples)
        assert report["blessed"] is False
        assert f"serving_default: {error}" in report["reason"]


DIES = """#!{python}
import os, sys
sys.path.insert(0, {root!r})
from emorec.cli import main
from serving.server import predict

def end(*_):
    print("Error: out of memory", file=sys.stderr, flush=True)
    os._exit(3)

if "--version" not in sys.argv:
    predict.predict = end
    sys.exit(main.main(["serve", "--embedded", *sys.argv[1:]]))
"""


@pytest.mark.long
def test_a_server_that_dies_of_a_request(toy, tmp_path):
    """Its last words are told, not that nothing answers."""
    root = str(pathlib.Path(__file__).resolve().parents[2])
    text = DIES.format(python=sys.executable, root=root)
    binary = script(tmp_path / "server", text)
    examples = toy_examples(tmp_path / "examples")
    with pytest.raises(ServerError, match="code 3: Error: out of memory; the"):
        validate(tmp_path, toy, examples, server=binary)
