"""Version labels: what they mean, and where they may go."""

import http.client
import json

import grpc
import pytest
from testing import times_model
from testing.times_model import Caller, config, model, put, refusal

from emorec.errors import UsageError
from serving.server.server import ModelServer

Code = grpc.StatusCode
ALL = "model_version_policy { all {} }"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A base path with versions 1 and 2, which multiply by that."""
    folder = tmp_path_factory.mktemp("labels")
    times_model.save(folder / "models", (1, 2))
    for number in (1, 2):
        put(folder / "models", number, folder / "base", number)
    return folder / "base"


def times(base, policy=ALL, **labels):
    text = " ".join(
        f'version_labels {{ key: "{key}" value: {value} }}'
        for key, value in labels.items()
    )
    return config(model("times", base, f"{policy} {text}"))


@pytest.fixture
def serve(base):
    """Returns a function that serves a config and gives a Caller."""
    servers, callers = [], []

    def start(models, **options):
        server = ModelServer(models=models, port=0, poll_s=60, **options)
        servers.append(server.start())
        callers.append(Caller(server))
        return callers[-1]

    yield start
    for server, caller in zip(servers, callers):
        caller.channel.close()
        server.stop()


def unavailable(version):
    return Code.FAILED_PRECONDITION, (
        f"Request to assign label to version {version} of model "
        "times, which is not currently available for inference"
    )


def test_labels_at_the_start_need_the_flag(base):
    with pytest.raises(UsageError) as raised:
        ModelServer(models=times(base, stable=1))
    assert str(raised.value) == (
        "`models`: Request to assign label to version 1 of model "
        "times, which is not currently available for inference; labels in "
        "the first config need `allow_version_labels_for_unavailable_models`"
    )


def test_a_label_is_its_version(serve, base):
    caller = serve(
        times(base, stable=1, canary=2, next=7),
        allow_labels_for_unavailable=True,
        rest_port=0,
    )
    assert caller.factor(version_label="stable") == 1.0
    assert caller.factor(version_label="canary") == 2.0
    assert caller.factor() == 2.0
    assert refusal(caller.factor, version_label="next") == (
        Code.NOT_FOUND,
        "Servable not found for request: Specific(times, 7)",
    )
    for name, label in (("times", "Stable"), ("times", ""), ("x", "stable")):
        assert refusal(caller.factor, name, version_label=label) == (
            Code.INVALID_ARGUMENT,
            f"Unrecognized servable version label: {label}",
        )


def test_labels_over_rest(base):
    with ModelServer(
        models=times(base, stable=1),
        port=0,
        rest_port=0,
        allow_labels_for_unavailable=True,
    ) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.rest_port)

        def ask(method, path, body=None):
            connection.request(method, f"/v1/models/times{path}", body)
            return json.loads(connection.getresponse().read())

        def product(of):
            return ask("POST", f"{of}:predict", '{"instances": [4]}')

        def described(of):
            return ask("GET", f"{of}/metadata")["model_spec"]["version"]

        def versions(of):
            found = ask("GET", of)["model_version_status"]
            return [v["version"] for v in found]

        # What each route leads to, and the state of what, newest first.
        for of, number, states in (
            ("", 2, ["2", "1"]),
            ("/versions/1", 1, ["1"]),
            ("/versions/2", 2, ["2"]),
            # A status takes no heed of labels.
            ("/labels/stable", 1, ["2", "1"]),
        ):
            assert product(of) == {"predictions": [4.0 * number]}
            assert described(of) == str(number)
            assert versions(of) == states
        unknown = {"error": "Unrecognized servable version label: x"}
        assert product("/labels/x") == unknown
        assert ask("GET", "/labels/x/metadata") == unknown
        connection.close()


def test_labels_move_between_versions_that_serve(serve, base):
    caller = serve(times(base))
    caller.reload(times(base, stable=1)).result()
    assert caller.factor(version_label="stable") == 1.0
    caller.reload(times(base, stable=2, canary=1)).result()
    assert caller.factor(version_label="stable") == 2.0
    assert caller.factor(version_label="canary") == 1.0

    bad = times(base, stable=9)
    assert refusal(caller.reload(bad).result) == unavailable(9)
    # Nothing has changed; not even the policy of that list.
    bad = times(base, "", stable=1, next=9)
    assert refusal(caller.reload(bad).result) == unavailable(9)
    assert caller.factor(version_label="stable") == 2.0
    assert caller.factor(version={"value": 1}) == 1.0

    caller.reload(times(base)).result()
    assert refusal(caller.factor, version_label="stable") == (
        Code.INVALID_ARGUMENT,
        "Unrecognized servable version label: stable",
    )


def test_with_the_flag_only_new_labels_go_anywhere(serve, base):
    caller = serve(
        times(base, stable=1, next=9), allow_labels_for_unavailable=True
    )
    # One that stays may stay, one that is new may be of no version.
    caller.reload(times(base, stable=1, next=9, later=10)).result()
    bad = times(base, stable=10)
    assert refusal(caller.reload(bad).result) == unavailable(10)
    assert caller.factor(version_label="stable") == 1.0
