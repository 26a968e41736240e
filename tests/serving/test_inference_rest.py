"""classify and regress over REST."""

import base64
import gzip
import http.client
import json
import math
import urllib.request

import pytest
from tensorflow_serving.apis import input_pb2
from testing import toy_inference

from serving.configs import schemas
from serving.server import json_text, rest_inference
from serving.server.server import ModelServer

CLASSIFY, REGRESS = "/v1/models/toy:classify", "/v1/models/toy:regress"
CONFIG = """
model_config_list {{
  config {{
    name: "toy" base_path: "{base}" model_platform: "tensorflow"
    version_labels {{ key: "stable" value: 7 }}
  }}
}}
"""
ROWS = [{"x": [0.25, 0.75]}, {"x": [1.0, 2.0], "bonus": 0.5}]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    base = tmp_path_factory.mktemp("inference")
    toy_inference.save(base / "7")
    models = schemas.parse("models", CONFIG.format(base=base))
    with ModelServer(
        models=models,
        port=0,
        rest_port=0,
        allow_labels_for_unavailable=True,
        max_message_bytes=1 << 20,
    ) as server:
        yield server


@pytest.fixture
def post(server):
    connection = http.client.HTTPConnection(
        "127.0.0.1", server.rest_port, timeout=60
    )

    def send(path, body, **headers):
        if isinstance(body, dict):
            body = json.dumps(body)
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        assert response.headers["Content-Type"] == "application/json"
        return response.status, response.read().decode()

    yield send
    connection.close()


def error(answer):
    code, text = answer
    assert text.startswith('{\n    "error": "')
    return code, json.loads(text)["error"]


def results(answer):
    code, text = answer
    assert code == 200, text
    return json.loads(text)["results"]


@pytest.mark.parametrize(
    "of", ["", "/versions/7", "/labels/stable", "/labels/st%61ble"]
)
def test_classify(post, of):
    code, text = post(f"/v1/models/toy{of}:classify", {"examples": ROWS})
    assert code == 200
    assert text == (
        "{\n"
        '    "results": [[["low", 0.25], ["h\xefgh", 0.75]], '
        '[["low", 1.0], ["h\xefgh", 2.0]]\n'
        "    ]\n"
        "}"
    )


def test_predict_and_metadata_by_label(post, server):
    body = {"signature_name": "floats", "instances": [1.5]}
    code, text = post("/v1/models/toy/labels/stable:predict", body)
    assert (code, json.loads(text)) == (200, {"predictions": [1.5]})
    url = (
        f"http://127.0.0.1:{server.rest_port}"
        "/v1/models/toy/labels/stable/metadata"
    )
    with urllib.request.urlopen(url, timeout=20) as response:
        found = json.load(response)
    assert found["model_spec"]["version"] == "7"


def test_classify_with_scores_alone(post):
    body = {"signature_name": "scores", "examples": ROWS[:1]}
    assert results(post(CLASSIFY, body)) == [[["", 0.25], ["", 0.75]]]


@pytest.mark.parametrize("of", ["", "/versions/7", "/labels/stable"])
def test_regress(post, of):
    body = {"signature_name": "regress", "examples": ROWS}
    code, text = post(f"/v1/models/toy{of}:regress", body)
    assert code == 200
    assert text == '{\n    "results": [1.0, 3.5]\n}'


def test_a_context_is_merged_into_each_example(post):
    body = {
        "signature_name": "regress",
        "context": {"x": [3.0, 4.0], "bonus": [10.0]},
        "examples": [{}, *ROWS],
    }
    assert results(post(REGRESS, body)) == [17.0, 11.0, 3.5]


def test_nan_and_infinity_come_and_go(post):
    body = {
        "signature_name": "regress",
        "examples": [{"x": [math.nan, 1.0]}, {"x": [-math.inf, 1.0]}],
    }
    code, text = post(REGRESS, body)
    assert (code, text) == (200, '{\n    "results": [NaN, -Infinity]\n}')


def test_a_large_integer_is_a_float_as_in_the_real_parser(post):
    body = b'{"signature_name": "regress", "examples": [{"x": [%s, 1.0]}]}'
    code, text = post(REGRESS, body % b"100000000000000000000")
    assert (code, text) == (200, '{\n    "results": [1e+20]\n}')


def test_gzip(post):
    body = json.dumps({"signature_name": "regress", "examples": ROWS})
    answer = post(
        REGRESS, gzip.compress(body.encode()), **{"Content-Encoding": "gzip"}
    )
    assert results(answer) == [1.0, 3.5]


def test_each_kind_of_feature_has_its_list():
    body = {
        "context": {},
        "examples": [
            {
                "texts": ["a", {"b64": base64.b64encode(b"\xff").decode()}],
                "text": "\xe9",
                "numbers": [1.5, math.inf],
                "mixed": [1, True, False],
                "large": [2**63 - 1, -(2**63)],
                "none": [],
            }
        ],
    }
    message = input_pb2.Input()
    document = json_text.parse(json.dumps(body).encode())
    rest_inference.fill_input(document, message)

    assert message.WhichOneof("kind") == "example_list_with_context"
    (found,) = message.example_list_with_context.examples
    found = found.features.feature
    assert list(found["texts"].bytes_list.value) == [b"a", b"\xff"]
    assert list(found["text"].bytes_list.value) == ["\xe9".encode()]
    assert list(found["numbers"].float_list.value) == [1.5, math.inf]
    assert list(found["mixed"].int64_list.value) == [1, 1, 0]
    assert list(found["large"].int64_list.value) == [2**63 - 1, -(2**63)]
    assert found["none"].WhichOneof("kind") is None


@pytest.mark.parametrize("path", [CLASSIFY, REGRESS])
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (
            b"{",
            "JSON Parse error: Missing a name for object member. at offset: 1",
        ),
        (b"[1]", "JSON Value: [\n    1\n] Is not object"),
        (
            {"signature_name": 1, "examples": ROWS},
            "'signature_name' key must be a string value.",
        ),
        (
            {"instances": [1]},
            'JSON Value: {\n    "instances": [\n        1\n    ]\n} When '
            "method is classify, key 'examples' is expected and was not found",
        ),
        (
            {"examples": {}},
            "JSON Value: {\n    \"examples\": {}\n} Expecting 'examples' value "
            "to be an list/array",
        ),
        (
            {"examples": []},
            "JSON Value: {\n    \"examples\": []\n} 'examples' value is an "
            "empty array",
        ),
        (
            {"examples": [[1]]},
            "Example must be JSON object but got JSON Array",
        ),
        (
            {"context": None, "examples": [{}]},
            "Example must be JSON object but got JSON Null",
        ),
        (
            {"examples": [{"x": [10, None]}]},
            "Feature: x has element with unexpected JSON type: Null",
        ),
        (
            {"examples": [{"x": {"b64": "AA==", "c": 1}}]},
            "Feature: x has element with unexpected JSON type: Object",
        ),
        (
            {"examples": [{"x": [[1]]}]},
            "Feature: x has element with unexpected JSON type: Array",
        ),
        (
            {"examples": [{"x": [10, 10.0]}]},
            "Unexpected element type in feature: x expecting type: int64",
        ),
        (
            {"examples": [{"x": [1.5, "a"]}]},
            "Unexpected element type in feature: x expecting type: float",
        ),
        (
            {"examples": [{"x": ["a", True]}]},
            "Unexpected element type in feature: x expecting type: bytes",
        ),
        (
            {"examples": [{"x": [2**63]}]},
            "Feature: x has uint64 element. Only int64 is supported.",
        ),
        (
            {"examples": [{"x": 1e39}]},
            "Cannot convert JSON value: 1e+39 to float without loss of "
            "precision.",
        ),
        (
            {"examples": [{"x": {"b64": "a$"}}]},
            "Unable to base64 decode",
        ),
        (
            b'{"examples": [{"\\ud800": 1}]}',
            "JSON Parse error: The surrogate pair in string is invalid. at "
            "offset: 16",
        ),
        (
            {"signature_name": "zz", "examples": ROWS},
            "No signature was found with the name: zz",
        ),
        (
            {"signature_name": "two_inputs", "examples": ROWS},
            "Expected one input Tensor.",
        ),
        (
            {"signature_name": "scores", "examples": [{"y": 1.0}]},
            None,
        ),
    ],
)
def test_refusals(post, path, body, message):
    code, text = error(post(path, body))
    assert code == 400
    if message is None:
        message = {
            CLASSIFY: "Feature: x (data type: float) is required but",
            REGRESS: "No regression outputs found in SignatureDef: inputs {",
        }[path]
        assert message in text
    elif message.startswith("'signature"):
        assert text.startswith("JSON Value: {") and text.endswith(message)
    else:
        assert text == message


def test_the_text_of_a_signature_is_not_cut(post):
    body = {"signature_name": "renamed", "examples": ROWS}
    code, text = error(post(CLASSIFY, body))
    assert code == 400
    assert text.startswith(
        'No classification inputs found in SignatureDef: inputs {\n  key: "ex'
    )
    assert text.endswith('method_name: "tensorflow/serving/classify"\n')


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        (
            "/v1/models/other:classify",
            404,
            "Servable not found for request: Latest(other)",
        ),
        (
            "/v1/models/toy/versions/8:regress",
            404,
            "Servable not found for request: Specific(toy, 8)",
        ),
        (
            "/v1/models/toy/labels/canary:classify",
            400,
            "Unrecognized servable version label: canary",
        ),
        (
            "/v1/models/a%20b%2Fc:regress",
            404,
            "Servable not found for request: Latest(a b/c)",
        ),
    ],
)
def test_the_model_is_looked_up(post, path, code, message):
    assert error(post(path, {"examples": ROWS})) == (code, message)


def test_a_context_cannot_make_a_small_request_huge(post):
    body = {
        "signature_name": "regress",
        "context": {"junk": [1.0] * 10_000},
        "examples": [{}] * 10_000,
    }
    code, text = error(post(REGRESS, body))
    assert code == 429
    assert "10000 examples with a context of 400" in text
