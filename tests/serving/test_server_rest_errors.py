"""What the REST API refuses, with the real server's words."""

import gzip
import http.client
import json
import threading
import time

import grpc
import numpy as np
import pytest

from serving.server import json_response, status

PREDICT = "/v1/models/toy:predict"

FAILED = "Failed to process element: {} of 'instances' list. "
WRONG_TYPE = " Type: {} is not of expected type: {}"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (
            b"{",
            "JSON Parse error: Missing a name for object member. at offset: 1",
        ),
        (
            b'{"a": 1 "b"}',
            "JSON Parse error: Missing a comma or } after an object member. "
            "at offset: 8",
        ),
        (
            '{"é}": [[1, {}, "]" 2'.encode(),
            "JSON Parse error: Missing a comma or ] after an array element. "
            "at offset: 21",
        ),
        (b"{} 1", "The document root must not be followed by other values."),
        (b'{"a": nope}', "JSON Parse error: Invalid value. at offset: 6"),
        (b'{"a": "\xff"}', "Invalid encoding in string. at offset: 7"),
        (b"[" * 100_000, "JSON Parse error: The document is nested too"),
        (b"[1]", "JSON Value: [\n    1\n] Is not object"),
        (b"{}", "Missing 'inputs' or 'instances' key"),
        ({"inputs": [], "instances": []}, "JSON Value: {"),
        ({"signature_name": 1, "inputs": []}, "JSON Value: {"),
        (
            {"instances": 1},
            'JSON Value: {\n    "instances": 1\n} '
            "Expecting 'instances' to be an list/array",
        ),
        (
            {"instances": []},
            'JSON Value: {\n    "instances": []\n} '
            "No values in 'instances' array",
        ),
        (
            {"signature_name": "nope", "instances": [1]},
            'Serving signature name: "nope" not found in signature def',
        ),
        (
            {"instances": [[1, 2, 3], [1, 2]]},
            FAILED.format(1) + "Error: INVALID_ARGUMENT: Expecting tensor "
            "size: 3 but got: 2",
        ),
        (
            {"instances": [[[1, 2]], [[1], [2]]]},
            FAILED.format(1) + "Error: INVALID_ARGUMENT: Expecting shape "
            "[1,2] but got: [2,1]",
        ),
        (
            {"instances": [[1, "a", 3]]},
            FAILED.format(0)
            + 'Error: INVALID_ARGUMENT: JSON Value: "a"'
            + WRONG_TYPE.format("String", "float"),
        ),
        (
            {"instances": [[1, True, 3]]},
            FAILED.format(0)
            + "Error: INVALID_ARGUMENT: JSON Value: true"
            + WRONG_TYPE.format("True", "float"),
        ),
        (
            {"instances": [[1, 2**24, 3]]},
            "Cannot convert JSON value: 16777216 to float without loss of "
            "precision.",
        ),
        (
            {"instances": [{"f": [1, 2, 3]}]},
            "Failed to process element: 0 key: f of 'instances' list. Error: "
            "INVALID_ARGUMENT: JSON object: does not have named input: f",
        ),
        (
            {"instances": [{"b64": "AAAA"}]},
            FAILED.format(0) + "Error: INVALID_ARGUMENT: JSON Value: {",
        ),
        (
            {"signature_name": "raw", "instances": [{"b64": "a$"}]},
            FAILED.format(0)
            + "Error: INVALID_ARGUMENT: Unable to base64 decode",
        ),
        (
            {"signature_name": "add", "instances": [1]},
            "instances is a plain list, but expecting list of objects as "
            "multiple input tensors required as per tensorinfo_map",
        ),
        (
            {"signature_name": "add", "instances": [{"a": 1}]},
            FAILED.format(0) + "JSON object: {",
        ),
        (
            {"signature_name": "add", "instances": [{"a": 1, "b": 1}, 2]},
            "Expecting object but got list at item 1 of input list",
        ),
        (
            {"instances": [[1, 2, 3], {"x": 1}]},
            "Expecting value/list but got object at item 1 of input list",
        ),
        (
            {"signature_name": "add", "inputs": {"a": [1]}},
            "Missing named input: b in 'inputs' object.",
        ),
        (
            {"inputs": [[1, 2, 3], [1, 2]]},
            "Encountered list at unexpected size: 2 at level: 1 expected "
            "size: 3",
        ),
        (
            {"inputs": [1, [2]]},
            "Encountered list at unexpected level: 1 expected < 1",
        ),
        (
            {"inputs": [[1], 2]},
            "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. "
            "Expected at level: 2",
        ),
        (
            {"signature_name": "total", "instances": [1]},
            "Tensor name: total has no shape information ",
        ),
        (
            b'{"inputs": ' + b"[" * 500 + b"]" * 500 + b"}",
            "Encountered more than 31 levels of lists",
        ),
        ({"inputs": [[1, 2, 3, 4]]}, "Matrix size-incompatible"),
    ],
)
def test_predict_refuses(ask, body, message):
    code, kind, text = ask("POST", PREDICT, body)
    assert (code, kind) == (400, "application/json")
    assert text.startswith('{\n    "error": "')
    assert message in json.loads(text)["error"]


def test_rows_of_outputs_that_have_not_the_same_number():
    outputs = {"a": np.zeros((2, 3)), "b": np.zeros(3)}
    with pytest.raises(status.StatusError) as raised:
        json_response.rows(outputs)
    assert raised.value.http_status == 400
    assert raised.value.message == (
        "Tensor name: b has inconsistent batch size: 3 expecting: 2"
    )
    # As whole tensors they can be told.
    assert json.loads(json_response.columns(outputs))["outputs"]["b"] == [0] * 3


def test_an_error_shows_no_more_than_a_piece_of_a_long_value(ask):
    text = ask("POST", PREDICT, {"instances": "a" * 100_000})[2]
    assert len(text) < 500
    assert "... Expecting 'instances' to be an list/array" in text


def test_the_model_is_looked_up_after_the_json(ask):
    other = "/v1/models/other:predict"
    assert ask("POST", other, b"{")[0] == 400
    code, _, text = ask("POST", other, {"instances": [1]})
    assert code == 404
    assert "Servable not found for request: Latest(other)" in text
    label = "/v1/models/toy/labels/x:predict"
    code, _, text = ask("POST", label, {"instances": [1]})
    assert code == 400
    assert "Unrecognized servable version label: x" in text


@pytest.mark.parametrize(
    ("headers", "body", "code", "message"),
    [
        ({}, b" " * (9 << 20), 413, "the request is larger than 8388608"),
        (
            {"Content-Encoding": "gzip"},
            gzip.compress(b" " * (9 << 20)),
            413,
            "the request is larger than 8388608",
        ),
        ({"Content-Encoding": "gzip"}, b"{}", 400, "gzip body is damaged"),
        (
            {"Content-Encoding": "gzip"},
            gzip.compress(b"{}", mtime=0)[:-5],
            400,
            "the gzip body is cut short",
        ),
        ({"Content-Length": "-1"}, b"", 400, "bad Content-Length: -1"),
    ],
)
def test_bodies_that_are_refused(server, headers, body, code, message):
    connection = http.client.HTTPConnection(
        "127.0.0.1", server.rest_port, timeout=20
    )
    connection.putrequest("POST", PREDICT)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        connection.putheader(name, value)
    # An oversized body is refused by its length alone.
    connection.endheaders(body if len(body) < 1 << 20 else None)
    response = connection.getresponse()
    assert response.status == code
    assert message in json.loads(response.read())["error"]
    connection.close()


def test_too_many_requests_at_once(server, pipe):
    codes = []

    def ask():
        connection = http.client.HTTPConnection(
            "127.0.0.1", server.rest_port, timeout=30
        )
        body = {"signature_name": "block", "instances": [pipe.path]}
        connection.request("POST", PREDICT, json.dumps(body))
        codes.append(connection.getresponse().status)
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    while len(codes) < 4:
        time.sleep(0.01)
    pipe.release()
    for thread in threads:
        thread.join()
    assert codes == [429] * 4 + [200] * 4


@pytest.mark.parametrize(
    ("names", "code"),
    [
        ("INVALID_ARGUMENT FAILED_PRECONDITION OUT_OF_RANGE", 400),
        ("NOT_FOUND", 404),
        ("ALREADY_EXISTS ABORTED", 409),
        ("RESOURCE_EXHAUSTED", 429),
        ("CANCELLED", 499),
        ("INTERNAL UNKNOWN", 500),
        ("UNIMPLEMENTED", 501),
        ("UNAVAILABLE", 503),
        ("DEADLINE_EXCEEDED", 504),
    ],
)
def test_every_code_has_its_http_status(names, code):
    for name in names.split():
        found = status.StatusError(grpc.StatusCode[name], "text")
        assert found.http_status == code, name
