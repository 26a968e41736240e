"""The REST API over real HTTP."""

import base64
import gzip
import json
import math

import pytest

PREDICT = "/v1/models/toy:predict"


def test_rows_of_several_outputs(ask):
    body = {"instances": [[1, 1, 1], [0.5, 0, 0]]}
    code, kind, text = ask("POST", PREDICT, body)
    assert (code, kind) == (200, "application/json")
    assert text == (
        "{\n"
        '    "predictions": [\n'
        "        {\n"
        '            "logits": [9.0, 12.0],\n'
        '            "rows": 3.0\n'
        "        },\n"
        "        {\n"
        '            "logits": [0.5, 1.0],\n'
        '            "rows": 0.5\n'
        "        }\n"
        "    ]\n"
        "}"
    )


def test_rows_of_one_output_are_bare(ask):
    body = {"signature_name": "add", "instances": [{"a": 1, "b": 2.5}] * 2}
    assert ask("POST", PREDICT, body)[2] == (
        '{\n    "predictions": [3.5, 3.5\n    ]\n}'
    )


def test_columns(ask):
    body = {"inputs": {"x": [[1, 1, 1]]}}
    assert ask("POST", PREDICT, body)[2] == (
        "{\n"
        '    "outputs": {\n'
        '        "logits": [\n'
        "            [\n"
        "                9.0,\n"
        "                12.0\n"
        "            ]\n"
        "        ],\n"
        '        "rows": [\n'
        "            3.0\n"
        "        ]\n"
        "    }\n"
        "}"
    )


def test_columns_of_one_input_and_output_are_bare(ask):
    body = {"signature_name": "upper", "inputs": ["a", "é"]}
    text = ask("POST", "/v1/models/toy/versions/1:predict", body)[2]
    assert json.loads(text) == {"outputs": ["A", "é"]}
    body = {"signature_name": "total", "inputs": [1, 2]}
    assert json.loads(ask("POST", PREDICT, body)[2]) == {"outputs": 3.0}


@pytest.mark.parametrize("padding", ["", "="])
def test_base64_in_and_out(ask, padding):
    data = base64.b64encode(b"\xff\x00").decode().rstrip("=") + padding
    body = {"signature_name": "raw", "instances": [{"b64": data}]}
    assert json.loads(ask("POST", PREDICT, body)[2]) == {
        "predictions": [{"b64": "/wA="}]
    }


def test_numbers_are_exact_and_may_be_infinite(ask):
    values = [0.1, 1 / 3, 1e30, 3e-5, -0.0]
    inputs = {"a": [*values, math.nan, math.inf, -math.inf], "b": [0]}
    body = {"signature_name": "add", "inputs": inputs}
    text = ask("POST", PREDICT, body)[2]
    lines = [line.strip(" ,") for line in text.splitlines()[2:-2]]
    assert lines[:4] == ["0.1", "0.333333343", "1e+30", "3e-05"]
    found = json.loads(text)["outputs"]
    assert math.isnan(found[5])
    assert found[6:] == [math.inf, -math.inf]


@pytest.mark.parametrize("chunked", [False, True])
def test_gzip_and_chunked_requests(ask, chunked):
    body = gzip.compress(b'{"instances": [[1, 1, 1]]}')
    headers = {"Content-Encoding": "gzip"}
    sent = iter([body[:7], body[7:]]) if chunked else body
    code, _, text = ask("POST", PREDICT, sent, **headers)
    assert code == 200
    assert json.loads(text)["predictions"][0]["rows"] == 3.0


def test_status(ask):
    for path in ("", "/versions/1", "/labels/any"):
        code, kind, text = ask("GET", f"/v1/models/toy{path}")
        assert (code, kind) == (200, "application/json")
        assert json.loads(text) == {
            "model_version_status": [
                {
                    "version": "1",
                    "state": "AVAILABLE",
                    "status": {"error_code": "OK", "error_message": ""},
                }
            ]
        }


def test_metadata(ask):
    code, _, text = ask("GET", "/v1/models/toy/metadata")
    found = json.loads(text)
    assert code == 200
    assert found["model_spec"] == {
        "name": "toy",
        "signature_name": "",
        "version": "1",
    }
    signatures = found["metadata"]["signature_def"]["signature_def"]
    x = signatures["serving_default"]["inputs"]["x"]
    assert x["dtype"] == "DT_FLOAT"
    assert x["tensor_shape"]["dim"][0]["size"] == "-1"


@pytest.mark.parametrize(
    ("method", "path", "code", "message"),
    [
        ("GET", "/v1/foo", 400, "Malformed request: GET /v1/foo"),
        ("GET", "/v1/models", 400, "Missing model name in request."),
        (
            "GET",
            "/v1/models/toy/",
            400,
            "Malformed request: GET /v1/models/toy/",
        ),
        ("GET", PREDICT, 400, f"Malformed request: GET {PREDICT}"),
        ("PUT", PREDICT, 400, f"Malformed request: PUT {PREDICT}"),
        (
            "POST",
            "/v1/models/toy",
            400,
            "Malformed request: POST /v1/models/toy",
        ),
        (
            "POST",
            "/v1/models/toy:foo",
            400,
            "Malformed request: POST /v1/models/toy:foo",
        ),
        (
            "GET",
            "/v1/Models/toy",
            400,
            "Malformed request: GET /v1/Models/toy",
        ),
        (
            "GET",
            "/v1/models/other",
            404,
            "Could not find any versions of model other",
        ),
        (
            "GET",
            "/v1/models/toy/versions/9",
            404,
            "Could not find version 9 of model toy",
        ),
        (
            "GET",
            "/v1/models/toy/versions/9/metadata",
            404,
            "Servable not found for request: Specific(toy, 9)",
        ),
        (
            "GET",
            f"/v1/models/toy/versions/{2**64}",
            400,
            f"Failed to convert version: {2**64} to numeric.",
        ),
        (
            "GET",
            "/v1/models/versions/1",
            400,
            "Missing model name in request.",
        ),
        (
            "GET",
            "/v1/models/a%20b%2Fc",
            404,
            "Could not find any versions of model a b/c",
        ),
    ],
)
def test_paths(ask, method, path, code, message):
    found, kind, text = ask(method, path)
    assert (found, kind) == (code, "application/json")
    assert text == json.dumps({"error": message}, indent=4)


@pytest.mark.parametrize("path", ["/", "/v1", "/other"])
def test_outside_the_api_is_html(ask, path):
    code, kind, text = ask("GET", path)
    assert (code, kind) == (404, "text/html")
    assert "404 Not Found" in text


def test_options(ask):
    assert ask("OPTIONS", "/", Origin="http://a") == (200, "text/html", "")
    assert ask("OPTIONS", "/") == (400, "text/html", "")
